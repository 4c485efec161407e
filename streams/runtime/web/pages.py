"""The pages of a worker: `/health/live`, `/health/ready`, `/metrics` and `/log-level`."""

import time
from ipaddress import IPv6Address, ip_address
from typing import get_args

import aiohttp.web
from faust.web import Request, Response, View

from streams.observability import metrics
from streams.observability.group_metrics import GroupCounts
from streams.observability.logs import apply_log_level, get_logger, log_level
from streams.observability.metrics import Lag
from streams.observability.metrics.build_info import BuildInfoCollector
from streams.runtime.pipeline_app import PipelineApp
from streams.runtime.web.health import Health, StallDetector, WorkerState, health_of
from streams.settings import LogLevel, Settings

log = get_logger(__name__)
LEVELS: tuple[str, ...] = get_args(LogLevel)
_LONGEST_BODY = 100
"""Bytes."""
_FORWARDED = ("Forwarded", "Origin", "X-Forwarded-For")
"""Headers of a request that a proxy passed on, or that a browser sends for another site."""


def add_pages(app: PipelineApp, settings: Settings) -> None:
    """Add the pages to the app. A health page returns status 503 if the worker is not live or not ready."""
    detector = StallDetector()

    async def health() -> Health:
        stalled = detector.stalled(_positions(app), app.worker.is_waiting, time.monotonic())
        return health_of(
            WorkerState(
                members={"consumers": app.group_consumer.assigned()},
                unreadable={
                    topic: why for one in app.group_consumer.activity() for topic, why in one.unreadable.items()
                },
                stalled=stalled,
                dead_threads=["consumers"] if app.group_consumer.stalled() else [],
                database_error=await app.worker.database_error(),
                stopping=app.worker.stopping,
                open_breakers=app.worker.open_breakers,
            )
        )

    @app.page("/health/live")
    async def live(web: View, request: Request) -> Response:  # noqa: ARG001 - Faust's signature
        found = await health()
        return web.json(found.live_page(), status=200 if found.live else 503)

    @app.page("/health/ready")
    async def ready(web: View, request: Request) -> Response:  # noqa: ARG001 - Faust's signature
        found = await health()
        return web.json(found.ready_page(), status=200 if found.ready else 503)

    @app.page("/metrics")
    async def exposition(web: View, request: Request) -> Response:  # noqa: ARG001 - Faust's signature
        body, content_type = metrics.exposition()
        return web.bytes(body, headers={"Content-Type": content_type})

    app.page("/log-level")(LogLevelPage)
    metrics.export(BuildInfoCollector())
    _export_groups(app, settings)


def _export_groups(app: PipelineApp, settings: Settings) -> None:
    metrics.export_groups(
        settings,
        lag=lambda: _positions(app),
        counts=lambda: [
            GroupCounts(
                one.group_id,
                one.owned,
                one.paused,
                one.rebalances,
                one.lost,
                one.late,
                one.commit_failures,
                one.deleted_unread,
                one.unreadable,
                one.oldest_unsettled,
            )
            for one in app.group_consumer.activity()
        ],
    )


def _positions(app: PipelineApp) -> list[Lag]:
    return [
        Lag(one.group_id, one.topic, one.partition, one.current_offset, one.end_offset, one.lag)
        for one in app.group_consumer.lag()
    ]


class LogLevelPage(View):
    """`GET` shows the level of the log. `POST` with a level as its body sets it until the process ends.

    Only this machine may set it, wherever the pages listen: `kubectl exec` and `docker exec` get there, a scraper and a
    browser do not. There is no signal for it, because Faust itself uses SIGUSR1 and SIGUSR2.
    """

    async def get(self, request: Request) -> Response:  # noqa: ARG002 - Faust's signature
        """Show the level."""
        return self.web.json({"level": log_level()})

    async def post(self, request: Request) -> Response:
        """Set the level."""
        assert isinstance(request, aiohttp.web.Request)  # noqa: S101 - Faust's only web driver
        if not is_local(request):
            return self._refuse(403, "the level can be changed from this machine only")
        level = (await request.content.read(_LONGEST_BODY)).decode(errors="replace").strip()
        if level not in LEVELS:
            return self._refuse(400, f"the level is one of {', '.join(LEVELS)}; send it as the body")
        before = log_level()
        apply_log_level(level)
        log.warning("log level changed", log_level=level, before=before)
        return self.web.json({"level": level, "before": before})

    def _refuse(self, status: int, error: str) -> Response:
        return self.web.json({"error": error}, status=status)


def is_local(request: aiohttp.web.Request) -> bool:
    """Return whether a process of this machine sent a request itself."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    peer = None if request.transport is None else request.transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return False
    address = ip_address(str(peer[0]).partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
