"""The web server of `streams exporter`: `/metrics`, `/health/live` and `/health/ready`."""

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from streams.observability.connection_limits import (
    BACKLOG,
    CONNECTION_SECONDS,
    ConnectionLimits,
    close_after_response,
    connection_limit,
)
from streams.observability.logs import get_logger
from streams.operations.monitoring.sample import DatabaseSample, KafkaSample
from streams.operations.monitoring.source import Source
from streams.settings import Settings

log = get_logger(__name__)
STOP_SECONDS = 0.5
"""How long a request that is being answered may take at the end."""


class PortTakenError(Exception):
    """The exporter cannot listen on its address. The message is one line that names the settings."""


Sources = Sequence[Source[KafkaSample] | Source[DatabaseSample]]


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens on the exporter's address. Raises PortTakenError."""
    host, port = settings.exporter_host, settings.exporter_port
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:  # UnicodeError: of a host that is no name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        message = f"cannot listen on {host}:{port} (STREAMS_EXPORTER_HOST, STREAMS_EXPORTER_PORT): {reason}"
        raise PortTakenError(message) from error


async def serve(
    listening: socket.socket, registry: CollectorRegistry, sources: Sources, knows_handlers: Callable[[], bool]
) -> None:
    """Serve the pages until SIGTERM or SIGINT.

    Args:
        listening: The socket of `listen`.
        registry: The metrics.
        sources: Their threads are the health of the process.
        knows_handlers: Returns whether the names of the handlers are known: lag needs them.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = web.Application(middlewares=[close_after_response])
    app.add_routes(_Pages(registry, sources, knows_handlers).routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    assert runner.server is not None  # noqa: S101 - `setup` has created it
    limits = ConnectionLimits(runner.server, connection_limit(), CONNECTION_SECONDS)
    server = await asyncio.get_running_loop().create_server(limits, sock=listening, backlog=BACKLOG)
    try:
        host, port, *_ = listening.getsockname()
        log.info("exporter started", host=host, port=port)
        await stop.wait()
    finally:
        server.close()
        await runner.cleanup()
    log.info("exporter stopped")


class _Pages:
    """The pages' handlers."""

    def __init__(self, registry: CollectorRegistry, sources: Sources, knows_handlers: Callable[[], bool]) -> None:
        self._registry = registry
        self._sources = sources
        self._knows_handlers = knows_handlers

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/metrics", self.metrics),
            web.get("/health/live", self.live),
            web.get("/health/ready", self.ready),
        ]

    async def metrics(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Answer with the metrics. Many partitions take a moment, so it is not done on the event loop."""
        body = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def live(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Answer with 503 if a thread has ended: only a restart helps."""
        reasons = [f"{one.name}: its thread has ended" for one in self._sources if not one.is_alive]
        return web.json_response({"live": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def ready(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        """Answer with 503 until the handlers are known, and each source has been read once or has failed to answer.

        A source that does not answer is a reason, but no 503: the metrics must be scraped to show it.
        """
        readings = {one.name: one.last() for one in self._sources}
        reasons = [
            f"{name}: {'not read yet' if last is None else last.error}"
            for name, last in readings.items()
            if last is None or last.error is not None
        ]
        knows_handlers = self._knows_handlers()
        if not knows_handlers:
            reasons.append("handlers: not read yet")
        ready = knows_handlers and None not in readings.values()
        return web.json_response({"ready": ready, "reasons": reasons}, status=200 if ready else 503)
