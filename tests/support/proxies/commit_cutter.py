"""A TCP proxy for PostgreSQL that cuts connections in the middle of a COMMIT."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy.engine import make_url

from tests.support.proxies.proxy import CHUNK, run_pumps, serving

Cut = Literal["unsent", "unanswered"]
"""The cut is before the server receives the COMMIT, or after the COMMIT and before its answer."""
COMMIT = b"COMMIT\x00"
"""The end of the client's Query or Parse message: the text ends with a NUL."""


@dataclass
class CommitCutter:
    """Cuts the connection at every `every`-th COMMIT, in turn before the COMMIT and before its answer.

    The cuts in `planned` come first, at the next COMMITs. While the proxy is `closed`, it accepts no new connection.
    With `closing`, the next cut closes it.
    """

    server: tuple[str, int]
    every: int | None
    planned: list[Cut] = field(default_factory=list)
    closing: bool = False
    closed: bool = False
    commits: int = 0
    unsent: int = 0
    unanswered: int = 0
    active: bool = True

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it or it is cut."""
        if self.closed:
            to_client.close()
            return
        try:
            server, to_server = await asyncio.open_connection(*self.server)
        except OSError:
            to_client.close()
            return
        cut = asyncio.Event()
        requests, answers = self._requests(client, to_server, cut), _answers(server, to_client, cut)
        await run_pumps(requests, answers, writers=(to_server, to_client))

    async def _requests(
        self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        while data := await client.read(CHUNK):
            if COMMIT in data and self.active:
                self.commits += 1
                kind = self._kind()
                self.closed = self.closed or (self.closing and kind is not None)
                if kind == "unsent":
                    self.unsent += 1
                    return
                if kind == "unanswered":
                    self.unanswered += 1
                    cut.set()
            to_server.write(data)
            await to_server.drain()

    def _kind(self) -> Cut | None:
        """Return how to cut this COMMIT. None: it is not cut."""
        if self.planned:
            return self.planned.pop(0)
        if self.every is None or self.commits % self.every:
            return None
        return "unsent" if self.unsent <= self.unanswered else "unanswered"


async def _answers(server: asyncio.StreamReader, to_client: asyncio.StreamWriter, cut: asyncio.Event) -> None:
    while data := await server.read(CHUNK):
        if cut.is_set():
            return
        to_client.write(data)
        await to_client.drain()


@contextmanager
def cut_commits(database_url: str, *, every: int | None = None) -> Iterator[tuple[CommitCutter, str]]:
    """Run a proxy for the duration of the block. Yields it with the database's URL through it.

    Args:
        database_url: The database's own URL.
        every: Cut every n-th COMMIT. None: only the planned cuts.
    """
    url = make_url(database_url)
    cutter = CommitCutter((url.host or "127.0.0.1", url.port or 5432), every)
    with serving(lambda: asyncio.start_server(cutter.serve, "127.0.0.1", 0)) as port:
        through = url.set(host="127.0.0.1", port=port)
        yield cutter, through.render_as_string(hide_password=False)
