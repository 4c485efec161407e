"""A TLS end before a server whose build has none: Redis' and PostgreSQL's of the local stack."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.certificates import Certificates
from tests.support.proxies.proxy import CHUNK, serving

SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
"""PostgreSQL's: the client asks for TLS before it says anything else; `S` is yes."""


class Front:
    """Takes connections, ends TLS, and passes on what comes. A client has to show its own certificate."""

    def __init__(self, server: tuple[str, int], certificates: Certificates, *, postgres: bool) -> None:
        self._server = server
        self._postgres = postgres
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificates.server, certificates.server_key)
        self._tls.load_verify_locations(certificates.authority)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self.connections = 0

    async def listen(self) -> asyncio.Server:
        """On a free port of the loopback."""
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
def tls_front(server: tuple[str, int], certificates: Certificates, *, postgres: bool) -> Iterator[tuple[Front, int]]:
    """The front and its port, while the block runs."""
    front = Front(server, certificates, postgres=postgres)
    with serving(front.listen) as port:
        yield front, port
