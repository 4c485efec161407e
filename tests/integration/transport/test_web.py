"""The web port of a worker: its own pages only, and connections that end."""

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from faust.web import Request, Response, View

from streams.observability.connection_limits import MAX_CONNECTIONS, connection_limit
from streams.settings import Settings
from streams.transport.faust import web
from streams.transport.faust.app import StreamsApp
from streams.transport.faust.web import StreamsWeb

BOUNDED = 10.0
"""Seconds that a test waits at most."""


@asynccontextmanager
async def served(monkeypatch: pytest.MonkeyPatch, seconds: float, limit: int = MAX_CONNECTIONS) -> AsyncIterator[int]:
    """Serve a page on a free port, with other limits. Yields the port."""
    monkeypatch.setattr(web, "CONNECTION_SECONDS", seconds)
    monkeypatch.setattr(web, "connection_limit", lambda: limit)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app = StreamsApp(Settings(web_port=port))

    @app.page("/health/live")
    async def live(view: View, request: Request) -> Response:  # noqa: ARG001 - Faust's signature
        return view.json({"live": True})

    server = app.web
    assert isinstance(server, StreamsWeb)
    server.init_server()
    await server.start_server()
    try:
        yield port
    finally:
        await server.stop_server()


async def status_of(port: int, path: str = "/health/live") -> int:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        return (await client.get(path)).status_code


@pytest.mark.requirement("Faults of others", "M11: half requests and idle connections on the web port are closed")
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /health/live HT",
        b"GET /health/live HTTP/1.1\r\nHost: a\r\nX: ",
        b"POST /health/live HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\na",
        b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_a_half_request_is_closed_after_a_while(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch, seconds=0.3) as port, asyncio.timeout(BOUNDED):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        started = time.monotonic()
        writer.write(sent)
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        assert time.monotonic() - started < BOUNDED
        assert await status_of(port) == 200


@pytest.mark.requirement("Faults of others", "M11: a thousand connections leave descriptors, and the pages answer")
async def test_with_too_many_connections_the_oldest_are_closed_and_the_pages_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served(monkeypatch, seconds=600, limit=20) as port:
        halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        for _, writer in halves:
            writer.write(b"GET / HT")
        for _ in range(5):
            assert await status_of(port) == 200
        async with asyncio.timeout(BOUNDED):
            for reader, _ in halves[:40]:
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
        assert not halves[-1][0].at_eof()
        for _, writer in halves:
            writer.close()


def test_the_connections_take_an_eighth_of_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    for descriptors, limit in ((1024, 100), (256, 32), (4, 1), (resource.RLIM_INFINITY, 100)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, found=descriptors: (found, found))
        assert connection_limit() == limit


@pytest.mark.requirement("Faults of others", "M11: the web port has the worker's own pages only")
async def test_faust_s_own_pages_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch, seconds=10) as port:
        for path in ("/", "/router/", "/table/", "/graph", "/performance/"):
            assert await status_of(port, path) == 404, path
        assert await status_of(port) == 200
