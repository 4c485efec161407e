"""The composition root: settings → what is declared → worker → Faust app. Read it top to bottom."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from functools import partial
from typing import cast

import faust
from faust.web import Request, Response, View

from schemas import Event
from streams.agents import Agent, declare_agents, declare_tier_agents
from streams.codec import build_codec
from streams.delivery import Handler
from streams.dify.platform import build_platform
from streams.observability import metrics
from streams.observability.logs import configure_logging, logging_config
from streams.observability.metrics import GroupCounts, Lag
from streams.operations.kafka_admin import KafkaAdmin
from streams.runtime.declarations import build_catalogue, build_groups, build_handlers, build_pools, topics_to_read
from streams.runtime.health import Health, Seen, judge
from streams.runtime.overrides import concurrency_limits, load_overrides
from streams.runtime.worker import Worker
from streams.settings import Settings, load_settings
from streams.topics import Catalogue
from streams.transport.faust.app import StreamsApp
from streams.transport.faust.consumer import Consumer

COMPUTE_MODULES = ("streams.dify.indexing.preload",)
"""What the killable processes run; imported once for all of them."""


class PipelineWorker(faust.Worker):
    """Faust's process without its spinner, which would keep our log lines below WARNING to itself."""

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:  # noqa: ARG002 - Faust's signature
        """Leave the root logger as `logging_config` has set it up."""
        self.spinner = None


class PipelineApp(StreamsApp):
    """The Faust app with its worker: started before the agents, drained by the transport, stopped after it."""

    worker: Worker

    @property
    def group_consumer(self) -> Consumer:
        """The transport's consumer, which knows of assignments and lag."""
        return cast("Consumer", self.consumer)

    async def on_start(self) -> None:
        """Open the engines' surroundings before the first chunk can come."""
        await super().on_start()
        await self.worker.start()

    async def on_stop(self) -> None:
        """End the engines once the consumers have drained."""
        await super().on_stop()
        await self.worker.stop(clean=not self.crashed)


def build_app(settings: Settings | None = None, *, handlers: Sequence[Handler[Event]] | None = None) -> PipelineApp:
    """The app that `faust -A streams worker` runs. No connection is made before the worker starts.

    `handlers` are those of the settings, unless a program brings its own.
    """
    settings = settings or load_settings()
    configure_logging(settings)
    catalogue, pools = build_catalogue(settings), build_pools(settings)
    handlers = build_handlers(settings) if handlers is None else handlers
    read = topics_to_read(catalogue, handlers)
    app = PipelineApp(
        settings,
        groups=build_groups(catalogue, read, pools),
        logging_config=logging_config(settings),
        Worker=PipelineWorker,
    )
    app.worker = Worker(
        settings,
        catalogue=catalogue,
        codec=build_codec(settings, catalogue, waits=False),
        handlers=handlers,
        limits=concurrency_limits(load_overrides(settings.overrides)),
        pools=pools,
        records=app.records,
        services=lambda: [build_platform(settings)],
        preload=COMPUTE_MODULES,
        crash=app.end_after_failure,
    )
    app.listener = app.worker
    app.checks += [app.worker.check, partial(adopt_former_tiers, app, catalogue, read)]
    declare_agents(partial(declare, app), catalogue, read, settings.pools, lambda: app.worker.engines)
    add_pages(app, settings)
    return app


def declare(app: PipelineApp, topic: str, agent: Agent, description: str) -> None:
    """Make a Faust agent that consumes a topic; the description is what `faust -A streams agents` shows."""
    agent.__doc__ = description
    app.agent(app.topic(topic, value_serializer="raw"), name=topic)(agent)


async def adopt_former_tiers(app: PipelineApp, catalogue: Catalogue, read: Collection[str]) -> None:
    """Before the start: read the tiers of former settings too, so that nothing that waits there is stranded."""
    existing = (await asyncio.to_thread(KafkaAdmin(app.settings).metadata)).topics
    former = {pool: catalogue.former_tiers(pool, existing) for pool in app.settings.pools}
    for pool, tiers in former.items():
        declare_tier_agents(partial(declare, app), pool, tiers, lambda: app.worker.engines)
    app.groups = build_groups(catalogue, read, build_pools(app.settings), former)


def add_pages(app: PipelineApp, settings: Settings) -> None:
    """`/health/live`, `/health/ready` and `/metrics`; 503 says no."""

    async def health() -> Health:
        return judge(
            Seen(
                members={"consumers": app.group_consumer.assigned()},
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

    metrics.export_groups(
        settings,
        lag=lambda: [
            Lag(one.group_id, one.topic, one.partition, one.current_offset, one.end_offset, one.lag)
            for one in app.group_consumer.lag()
        ],
        counts=lambda: [
            GroupCounts(one.group_id, one.owned, one.paused, one.rebalances, one.lost, one.late, one.commit_failures)
            for one in app.group_consumer.activity()
        ],
    )
