"""The composition root: settings → topics, handlers and pools → worker → Faust app. Read it top to bottom."""

import asyncio
from collections.abc import Collection, Sequence
from functools import partial

from schemas import Event
from streams.agents import declare_agents, declare_tier_agents
from streams.codec import build_codec
from streams.delivery import Handler
from streams.dify.accounts.billing import build_billing
from streams.dify.mail.mailer import build_mailer
from streams.dify.platform import build_platform
from streams.dify.retention.periods import build_periods
from streams.dify.tidb.client import build_tidb
from streams.observability.logs import configure_logging, logging_config
from streams.operations.alerts.monitoring import build_monitoring
from streams.operations.kafka_admin import KafkaAdmin
from streams.runtime.declarations import build_catalogue, build_groups, build_handlers, build_pools, topics_to_read
from streams.runtime.overrides import concurrency_limits, load_overrides
from streams.runtime.pipeline_app import PipelineApp, PipelineWorker
from streams.runtime.resources import WorkerConfig
from streams.runtime.schedules import build_schedules
from streams.runtime.web.pages import add_pages
from streams.runtime.worker import Worker
from streams.schedules.clock import TICK
from streams.settings import Settings, load_sentry_settings, load_settings
from streams.topics import Catalogue

COMPUTE_MODULES = ("faust.cli.faust", "streams.dify.indexing.preload", "streams.dify.mail.caller_template")
"""Modules that the server of the compute processes imports once: their functions, and the worker's own script."""


def build_app(settings: Settings | None = None, *, handlers: Sequence[Handler[Event]] | None = None) -> PipelineApp:
    """Build the app that `faust -A streams worker` runs. No connection is opened before the worker starts.

    Args:
        settings: None: read from the environment.
        handlers: None: the built-in handlers and those of STREAMS_HANDLERS.
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
        WorkerConfig(
            settings=settings,
            catalogue=catalogue,
            codec=build_codec(settings, catalogue, blocking=False),
            handlers=handlers,
            limits=concurrency_limits(load_overrides(settings.overrides)),
            sentry=load_sentry_settings(),
            schedules=build_schedules(settings, catalogue, handlers),
            pools=pools,
            producer=app.records,
            services=lambda: [
                build_platform(settings),
                build_mailer(settings),
                build_billing(settings),
                build_periods(settings),
                build_tidb(settings),
                build_monitoring(settings, catalogue, read),
            ],
            preload=COMPUTE_MODULES,
            crash=app.end_after_failure,
            has_failed=lambda: app.crashed,
        )
    )
    app.listener = app.worker
    app.checks += [app.worker.check, partial(adopt_former_tiers, app, catalogue, read)]
    declare_agents(app.consume, catalogue, read, settings.pools, lambda: app.worker.engines)
    app.timer(TICK)(app.worker.tick)
    add_pages(app, settings)
    return app


async def adopt_former_tiers(app: PipelineApp, catalogue: Catalogue, read: Collection[str]) -> None:
    """Also consume the retry tiers of former settings, so that their records are not lost. Runs before the start."""
    existing = (await asyncio.to_thread(KafkaAdmin(app.settings).metadata)).topics
    former = {pool: catalogue.former_tiers(pool, existing) for pool in app.settings.pools}
    for pool, tiers in former.items():
        declare_tier_agents(app.consume, pool, tiers, lambda: app.worker.engines)
    app.groups = build_groups(catalogue, read, build_pools(app.settings), former)
