"""Runs the deletions of a worker on a million rows, and the platform's way on some thousands of the same rows."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from sqlalchemy import Engine

from benchmarks.environment import Sandbox, Servers, say, wait_until
from benchmarks.result import Result, Results
from benchmarks.scenarios.deleting.row_by_row import PAGE, delete_embeddings, delete_messages, delete_runs
from benchmarks.scenarios.deleting.rows import add_embeddings, add_messages, add_runs
from schemas import EmbeddingCacheCleanupRequested, Event, MessagesCleanupRequested, WorkflowRunsCleanupRequested
from streams.codec import build_codec
from streams.publishing import EventProducer
from streams.topics import load_catalogue

ROWS = 1_000_000
_SHARE_OF_RUNS = 0.3
"""The number of workflow runs, compared with that of messages. A run has three executions and a message."""
_FACTOR = 10.0
_TIMEOUT = 1800.0


@dataclass(frozen=True, slots=True)
class _Case:
    """Rows of a table, and the two ways to delete them."""

    table: str
    order: str
    """The column in whose order a worker deletes them."""
    event: type[Event]
    as_platform: Callable[[Engine, int], None]
    sample: int
    """Rows that are deleted in the platform's way. The time for all is extrapolated from them."""


_CASES = (
    _Case("messages", "created_at", MessagesCleanupRequested, delete_messages, 5_000),
    _Case("embeddings", "created_at", EmbeddingCacheCleanupRequested, delete_embeddings, 5_000),
    _Case("workflow_runs", "id", WorkflowRunsCleanupRequested, delete_runs, 1_000),
)


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
        for case in _CASES:
            if case.event is WorkflowRunsCleanupRequested:
                add_runs(sandbox, max(round(count * _SHARE_OF_RUNS), 2 * PAGE))
            yield _compare(sandbox, case)


def _compare(sandbox: Sandbox, case: _Case) -> Result:
    """Delete some rows in the platform's way, then the others by a worker."""
    name, count = case.table, f"select count(*) from {case.table}"  # noqa: S608 - one of three names
    before = sandbox.scalar(count)
    started = time.perf_counter()
    case.as_platform(sandbox.engine, min(case.sample, max(before // 20, PAGE)))
    took = time.perf_counter() - started
    rest = sandbox.scalar(count)
    of_platform = took / (before - rest)
    # The last row goes last, and an index finds it at once.
    last = f"select count(*) from (select 1 from {name} order by {case.order} desc limit 1) as last"  # noqa: S608 - as above
    with sandbox.worker() as watch:
        codec = build_codec(sandbox.settings, load_catalogue(sandbox.settings))
        started = time.perf_counter()
        with EventProducer(sandbox.settings, codec=codec) as producer:
            producer.publish_many([case.event()])
        wait_until(lambda: sandbox.scalar(last) == 0, f"the deletion of {name}", _TIMEOUT)
        took = time.perf_counter() - started
        peak = watch.peak
    say(f"{name}: {rest / took:,.0f} rows/s, the platform's way {1 / of_platform:,.0f} rows/s")
    detail = {
        "rows": rest,
        "seconds": round(took, 2),
        "row_by_row_seconds": round(of_platform * rest, 1),
        "worker_mib": round(peak, 1),
    }
    return Result(
        f"deleting-{name.replace('_', '-')}",
        of_platform * rest / took,
        "times the platform",
        "at least",
        _FACTOR,
        detail,
    )


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
