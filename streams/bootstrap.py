"""The composition root: settings → catalogue, handlers, pools, worker, Faust app. Read it top to bottom."""

import importlib
from collections.abc import Sequence
from typing import cast

from faust.web import Request, Response, View

from schemas import Event
from streams.agents import Agent, dataset, declare_agents, document, message
from streams.codec import build_codec
from streams.delivery.handler import Handler
from streams.dify.platform import build_platform
from streams.monitoring.health import Health, Seen, judge
from streams.observe import metrics
from streams.observe.logs import configure_logging, logging_config
from streams.observe.metrics import Lag
from streams.overrides import apply_to_handlers, apply_to_topics, concurrency_limits, load_overrides
from streams.settings import Settings, SettingsError, load_settings
from streams.topics import POOLS, Catalogue, Pool, load_topics
from streams.transport.app import StreamsApp
from streams.transport.consumer import Consumer
from streams.transport.group import Group
from streams.worker import Worker

COMPUTE_MODULES = ("streams.dify.extraction", "streams.dify.splitting", "streams.dify.local_embedding")
"""What the killable processes run; imported once for all of them."""
BUILT_IN_HANDLERS: tuple[Handler[Event], ...] = (*document.HANDLERS, *dataset.HANDLERS, *message.HANDLERS)


def build_catalogue(settings: Settings) -> Catalogue:
    """The topics in force: built in, of STREAMS_HANDLERS, overridden. Raises SettingsError."""
    return Catalogue(apply_to_topics(load_topics(settings), load_overrides(settings.overrides)), settings)


def build_handlers(settings: Settings) -> tuple[Handler[Event], ...]:
    """The handlers in force: built in, the `HANDLERS` of STREAMS_HANDLERS, overridden. Raises SettingsError."""
    found = list(BUILT_IN_HANDLERS)
    for package in settings.handlers:
        found.extend(getattr(importlib.import_module(package), "HANDLERS", ()))
    names = [handler.name for handler in found]
    if twice := {name for name in names if names.count(name) > 1}:
        message = f"STREAMS_HANDLERS: two handlers are named {', '.join(sorted(twice))}"
        raise SettingsError(message)
    return tuple(apply_to_handlers(found, load_overrides(settings.overrides)))


def build_pools(settings: Settings) -> tuple[Pool, ...]:
    """The pools that this deployment's workers host, most urgent first."""
    return tuple(pool for pool in POOLS if pool.name in settings.pools)


def build_groups(catalogue: Catalogue, pools: Sequence[Pool]) -> tuple[Group, ...]:
    """What each pool's consumer reads: its event topics and its retry tiers."""
    return tuple(
        Group(
            pool=pool.name,
            group_id=catalogue.group(pool.name),
            topics=(*(topic.name for topic in catalogue.in_pool(pool.name)), *catalogue.tiers(pool.name)),
            high=pool.prefetch,
            low=pool.prefetch // 4,
        )
        for pool in pools
    )


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
        await self.worker.stop()


def build_app(settings: Settings | None = None) -> PipelineApp:
    """The app that `faust -A streams worker` runs. No connection is made before the worker starts."""
    settings = settings or load_settings()
    configure_logging(settings)
    catalogue, pools = build_catalogue(settings), build_pools(settings)
    app = PipelineApp(settings, groups=build_groups(catalogue, pools), logging_config=logging_config(settings))
    app.worker = Worker(
        settings,
        catalogue=catalogue,
        codec=build_codec(settings, catalogue),
        handlers=build_handlers(settings),
        limits=concurrency_limits(load_overrides(settings.overrides)),
        pools=pools,
        records=app.records,
        services=lambda: [build_platform(settings)],
        preload=COMPUTE_MODULES,
        crash=app.end_after_failure,
    )
    app.listener = app.worker
    app.checks.append(app.worker.check)

    def declare(topic: str, agent: Agent, description: str) -> None:
        agent.__doc__ = description
        app.agent(app.topic(topic, value_serializer="raw"), name=topic)(agent)

    declare_agents(declare, catalogue, tuple(pool.name for pool in pools), lambda: app.worker.engines)
    add_pages(app, settings)
    return app


def add_pages(app: PipelineApp, settings: Settings) -> None:
    """`/health/live`, `/health/ready` and `/metrics`; 503 says no."""

    async def health() -> Health:
        return judge(
            Seen(
                members={"consumers": app.group_consumer.assigned()},
                dead_threads=["consumers"] if app.group_consumer.stalled() else [],
                database_error=await app.worker.database_error(),
                stopping=app.worker.stopping,
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

    metrics.export_lag(
        settings,
        lambda: [
            Lag(one.group_id, one.topic, one.partition, one.current_offset, one.end_offset, one.lag)
            for one in app.group_consumer.lag()
        ],
    )
