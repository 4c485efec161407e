"""A TCP proxy before PostgreSQL that cuts connections in the middle of a COMMIT."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy.engine import make_url

from tests.integration.tls_front import end_others

COMMIT = b"COMMIT\x00"
"""As the client sends it: in a Query or a Parse message, the text ends with a NUL."""
CHUNK = 65_536


@dataclass
class Cutter:
    """Cuts every so many-th COMMIT: in turn before the server sees it, and after it was done but not answered."""

    server: tuple[str, int]
    every: int
    commits: int = 0
    unsent: int = 0
    unanswered: int = 0
    port: int = 0
    active: bool = True
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

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
    loop = asyncio.new_event_loop()
    listening, over = threading.Event(), asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
        cutter.port = server.sockets[0].getsockname()[1]
        listening.set()
        await over.wait()
        server.close()
        await end_others()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert listening.wait(10)
    try:
        through = url.set(host="127.0.0.1", port=cutter.port)
        yield cutter, through.render_as_string(hide_password=False)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
