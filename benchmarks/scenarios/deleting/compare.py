"""Runs the deletions of a worker on a million rows, and the platform's way on some thousands of the same rows."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from sqlalchemy import Engine

from benchmarks.environment import Sandbox, Servers, say, wait_until
from benchmarks.result import Result, Results
from benchmarks.scenarios.deleting.row_by_row import PAGE, delete_embeddings, delete_messages
from benchmarks.scenarios.deleting.rows import add_embeddings, add_messages
from schemas import EmbeddingCacheCleanupRequested, Event, MessagesCleanupRequested
from streams.codec import build_codec
from streams.publishing import EventProducer
from streams.topics import load_catalogue

ROWS = 1_000_000
_ROW_BY_ROW = 5_000
"""Rows that are deleted in the platform's way. The time for all is extrapolated from them."""
_FACTOR = 10.0
_TIMEOUT = 1800.0


def run(servers: Servers, scale: float) -> Results:
    """The factors by which it is faster than the platform: at least 10. The memory of the worker is told too."""
    count = max(round(ROWS * scale), 2 * PAGE)
    with (
        _billing_service() as url,
        servers.sandbox("deleting", STREAMS_BILLING_URL=url, STREAMS_POOLS="low") as sandbox,
    ):
        say(f"{count} old messages and {count} old cached embeddings")
        add_messages(sandbox, count)
        add_embeddings(sandbox, count)
        for name, table, event, by_row in (
            ("messages", "messages", MessagesCleanupRequested(), delete_messages),
            ("embeddings", "embeddings", EmbeddingCacheCleanupRequested(), delete_embeddings),
        ):
            yield _compare(sandbox, name, table, event, by_row)


def _compare(sandbox: Sandbox, name: str, table: str, event: Event, by_row: Callable[[Engine, int], None]) -> Result:
    """Delete some rows in the platform's way, then the others by a worker."""
    left = f"select count(*) from {table}"  # noqa: S608 - one of two names
    before = sandbox.scalar(left)
    started = time.perf_counter()
    by_row(sandbox.engine, min(_ROW_BY_ROW, before // 2))
    rest = sandbox.scalar(left)
    of_platform = (time.perf_counter() - started) / (before - rest)
    with sandbox.worker() as watch:
        codec = build_codec(sandbox.settings, load_catalogue(sandbox.settings))
        started = time.perf_counter()
        with EventProducer(sandbox.settings, codec=codec) as producer:
            producer.publish_many([event])
        any_row = f"select count(*) from (select 1 from {table} limit 1) as any_row"  # noqa: S608 - one of two names
        wait_until(lambda: sandbox.scalar(any_row) == 0, f"the deletion of {name}", _TIMEOUT)
        took = time.perf_counter() - started
        peak = watch.peak
    say(f"{name}: {rest / took:,.0f} rows/s, the platform's way {1 / of_platform:,.0f} rows/s")
    detail = {
        "rows": rest,
        "seconds": round(took, 2),
        "row_by_row_seconds": round(of_platform * rest, 1),
        "worker_mib": round(peak, 1),
    }
    return Result(f"deleting-{name}", of_platform * rest / took, "times the platform", "at least", _FACTOR, detail)


@contextmanager
def _billing_service() -> Iterator[str]:
    """Run a billing service for which every tenant has the plan sandbox. Yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"enabled": true, "subscription": {"plan": "sandbox"}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
