"""A TLS proxy for the local stack's Redis and PostgreSQL, which are built without TLS."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.certificates import Certificates
from tests.support.proxies.proxy import CHUNK, serving

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
                server, to_server = await asyncio.open_connection(*self._server)
                self.connections += 1
                pumps = [asyncio.create_task(_pump(client, to_server)), asyncio.create_task(_pump(server, to_client))]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                to_server.close()
        finally:
            to_client.close()


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
