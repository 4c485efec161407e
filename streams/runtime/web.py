"""The pages of a worker: `/health/live`, `/health/ready` and `/metrics`."""

import time

from faust.web import Request, Response, View

from streams.observability import metrics
from streams.observability.group_metrics import GroupCounts
from streams.observability.metrics import Lag
from streams.runtime.health import Health, StallDetector, WorkerState, health_of
from streams.runtime.pipeline_app import PipelineApp
from streams.settings import Settings


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
            )
            for one in app.group_consumer.activity()
        ],
    )


def _positions(app: PipelineApp) -> list[Lag]:
    return [
        Lag(one.group_id, one.topic, one.partition, one.current_offset, one.end_offset, one.lag)
        for one in app.group_consumer.lag()
    ]
