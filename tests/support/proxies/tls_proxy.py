"""A TLS proxy for the local stack's Redis and PostgreSQL, which are built without TLS."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.certificates import Certificates
from tests.support.proxies.proxy import CHUNK, run_pumps, serving

SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
"""PostgreSQL's first message from a client that wants TLS. The answer `S` accepts it."""


class TLSProxy:
    """Accepts connections, terminates TLS, and forwards the data. A client must present its certificate."""

    def __init__(self, server: tuple[str, int], certificates: Certificates, *, postgres: bool) -> None:
        self._server = server
        self._postgres = postgres
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificates.server, certificates.server_key)
        self._tls.load_verify_locations(certificates.authority)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self.connections = 0

    async def listen(self) -> asyncio.Server:
        """Listen on a free port of the loopback interface."""
        tls = None if self._postgres else self._tls
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                if self._postgres:
                    assert await client.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
                    to_client.write(b"S")
                    await to_client.start_tls(self._tls)
                self.connections += 1
                await self._forward(client, to_client)
        finally:
            to_client.close()

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Connect to the server, and forward data until one side closes its connection."""
        server, to_server = await asyncio.open_connection(*self._server)
        await run_pumps(_pump(client, to_server), _pump(server, to_client), writers=(to_server,))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


@contextmanager
def tls_proxy(server: tuple[str, int], certificates: Certificates, *, postgres: bool) -> Iterator[tuple[TLSProxy, int]]:
    """Run the proxy for the duration of the block. Yields it with its port.

    Args:
        server: Host and port of the server.
        certificates: The proxy's certificate, and the authority of the clients.
        postgres: Expect PostgreSQL's request for TLS first.
    """
    proxy = TLSProxy(server, certificates, postgres=postgres)
    with serving(proxy.listen) as port:
        yield proxy, port


class EitherProxy(TLSProxy):
    """Forwards connections with and without TLS to one server, by their first byte. It counts those with TLS.

    So a sentinel without TLS and a client with TLS can use the same address of a master.
    """

    HANDSHAKE = b"\x16"
    """The first byte of a TLS connection. A command of Redis begins with `*`."""

    async def listen(self) -> asyncio.Server:
        """Listen on a free port of the loopback interface."""
        loop = asyncio.get_running_loop()
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(0)
        self._tasks = {loop.create_task(self._accept(listening))}
        return await asyncio.start_server(self._serve, sock=listening, start_serving=False)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            accepted, _ = await loop.sock_accept(listening)
            task = loop.create_task(self._open(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open(self, accepted: socket.socket) -> None:
        """Look at the first byte, which stays in the socket, and serve the connection."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        with contextlib.suppress(OSError):  # such as a handshake that fails
            is_tls = await _first_byte(accepted) == self.HANDSHAKE
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, accepted, ssl=self._tls if is_tls else None
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            if is_tls:
                await self._serve(reader, writer)
            else:
                await self._forward(reader, writer)
                writer.close()


async def _first_byte(accepted: socket.socket) -> bytes:
    """Return the first byte when it has arrived, without reading it. Empty: the connection was closed."""
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(accepted, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(accepted)
    return accepted.recv(1, socket.MSG_PEEK)


@contextmanager
def either_proxy(server: tuple[str, int], certificates: Certificates) -> Iterator[tuple[EitherProxy, int]]:
    """Run the proxy for the duration of the block. Yields it with its port.

    Args:
        server: Host and port of the server.
        certificates: The proxy's certificate, and the authority of the clients.
    """
    proxy = EitherProxy(server, certificates, postgres=False)
    with serving(proxy.listen) as port:
        yield proxy, port
