"""A TCP proxy before PostgreSQL that cuts connections in the middle of a COMMIT."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.engine import make_url

from tests.support.proxies.proxy import CHUNK, serving

COMMIT = b"COMMIT\x00"
"""As the client sends it: in a Query or a Parse message, the text ends with a NUL."""


@dataclass
class Cutter:
    """Cuts every so many-th COMMIT: in turn before the server sees it, and after it was done but not answered."""

    server: tuple[str, int]
    every: int
    commits: int = 0
    unsent: int = 0
    unanswered: int = 0
    active: bool = True

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it or it is cut."""
        try:
            server, to_server = await asyncio.open_connection(*self.server)
        except OSError:
            to_client.close()
            return
        cut = asyncio.Event()
        pumps = {
            asyncio.create_task(self._requests(client, to_server, cut)),
            asyncio.create_task(_answers(server, to_client, cut)),
        }
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the proxy ends
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            to_server.close()
            to_client.close()

    async def _requests(
        self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        while data := await client.read(CHUNK):
            if COMMIT in data and self.active:
                self.commits += 1
                if self.commits % self.every == 0:
                    if self.unsent <= self.unanswered:
                        self.unsent += 1
                        return
                    self.unanswered += 1
                    cut.set()
            to_server.write(data)
            await to_server.drain()


async def _answers(server: asyncio.StreamReader, to_client: asyncio.StreamWriter, cut: asyncio.Event) -> None:
    while data := await server.read(CHUNK):
        if cut.is_set():
            return
        to_client.write(data)
        await to_client.drain()


@contextmanager
def cutting(database_url: str, *, every: int) -> Iterator[tuple[Cutter, str]]:
    """A proxy and the database's URL by it, while the block runs."""
    url = make_url(database_url)
    cutter = Cutter((url.host or "127.0.0.1", url.port or 5432), every)
    with serving(lambda: asyncio.start_server(cutter.serve, "127.0.0.1", 0)) as port:
        through = url.set(host="127.0.0.1", port=port)
        yield cutter, through.render_as_string(hide_password=False)
