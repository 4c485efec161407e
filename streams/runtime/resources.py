"""The resources of a worker process: opened in one order, closed in the reverse order. Loads no Faust."""

import asyncio
import gc
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from schemas import Event
from streams.codec import Codec
from streams.database import Database
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.breaker_reports import BreakerReports
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.admission.pauses import Pauses
from streams.delivery.admission.schema_loader import REGISTRY, SchemaLoader
from streams.delivery.context import PoolContext, Services
from streams.delivery.engine import PoolEngine
from streams.delivery.handler import Handler
from streams.delivery.ledger.columns import WorkerIdentity
from streams.delivery.process_pool import ComputePool
from streams.delivery.process_pool.confinement import hide_memory
from streams.delivery.settlement.settle_loop import KAFKA
from streams.delivery.spans import DeliverySpans
from streams.delivery.temporary_folder import remove_left_folders
from streams.observability import metrics
from streams.observability.logs import get_logger
from streams.observability.sentry.reporter import SentryReports
from streams.observability.tracing import close_tracing, open_tracing, process_tracer
from streams.publishing.outbox.relay import Relay
from streams.runtime.background_tasks import Crash, start_tasks
from streams.runtime.declarations import handlers_by_topic
from streams.runtime.failure_reports import open_reports
from streams.runtime.maintenance import Maintenance
from streams.runtime.resource_metrics import export_outcomes, export_resources, export_window
from streams.runtime.schedules import handlers_with_rows
from streams.schedules.clock import ScheduleClock
from streams.schedules.registration import register_schedules
from streams.schedules.schedule import Schedule
from streams.settings import PoolName, Settings
from streams.settings.sentry import SentrySettings
from streams.topics import Catalogue, Pool
from streams.transport.kafka.producer import RecordProducer

log = get_logger(__name__)
BOOKKEEPING_CONNECTIONS = 4
"""Connections per pool for claims, heartbeats and settlements."""
WORKER_CONNECTIONS = 8
"""Connections for the relay, the crash guard, the maintenance of the ledger and the health page."""
DATABASE = "database"
"""The dependency's name in the output of `streams breakers`."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The configuration of a worker from the composition root. Nothing in it is open yet."""

    settings: Settings
    catalogue: Catalogue
    codec: Codec
    handlers: Sequence[Handler[Event]]
    limits: Mapping[str, int]
    """Handler name → its concurrent runs in this process, for handlers with a limit of their own."""
    pools: Sequence[Pool]
    """Most urgent first."""
    producer: RecordProducer
    services: Callable[[], Sequence[object]]
    """Builds the services that handlers get by type: `work.use(Platform)`."""
    preload: Sequence[str]
    """Modules that the compute processes import before their first task."""
    crash: Crash
    has_failed: Callable[[], bool] = lambda: False
    """Returns whether the process ends because of a failure."""
    sentry: SentrySettings | None = None
    """None: nothing is reported to Sentry."""
    schedules: Sequence[Schedule] = ()
    """The schedules of the code. Operators can change them and add more at run time."""


@dataclass(frozen=True, slots=True)
class SharedResources:
    """The resources that the engines of all pools share."""

    worker: str
    """`host:pid:xxxxxx`, as the ledger shows it. The last part is random: containers may share host name and id."""
    database: Database
    """For everything except deliveries: each pool has its own connections for those."""
    compute: ComputePool
    breakers: BreakerRegistry
    schemas: SchemaLoader
    gate: DatabaseGate
    guard: CrashLoopGuard
    pauses: Pauses
    services: Services
    reports: SentryReports | None


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """The open resources of a running worker."""

    shared: SharedResources
    engines: Mapping[PoolName, PoolEngine]
    clock: ScheduleClock


@asynccontextmanager
async def open_resources(config: WorkerConfig) -> AsyncIterator[WorkerResources]:
    """Open the resources of a worker and start its background tasks. Close everything when the block ends.

    If opening fails, the resources that are already open are closed. If the block raises, the worker has failed: the
    crash-loop guard keeps its rows. Every resource is closed, even if closing another one raises.
    """
    settings = config.settings
    async with AsyncExitStack() as stack:
        reports = open_reports(stack, config.sentry)
        tracer = open_tracing(settings.application)
        stack.push_async_callback(asyncio.to_thread, close_tracing)
        if settings.compute_confined:
            hide_memory()
        await asyncio.to_thread(remove_left_folders)
        compute = ComputePool(
            settings.compute_processes,
            preload=config.preload,
            memory=settings.compute_memory,
            confined=settings.compute_confined,
            log_format=settings.log_format,
        )
        stack.push_async_callback(compute.close)
        database = _open_database(stack, settings, effects=1, bookkeeping=WORKER_CONNECTIONS)
        # Each pool has its own connections, so that handlers that wait for locks do not block the other pools.
        databases = {
            pool.name: _open_database(
                stack, settings, effects=pool.connections or pool.concurrency, bookkeeping=BOOKKEEPING_CONNECTIONS
            )
            for pool in reversed(config.pools)
        }
        if tracer is not None:
            stack.enter_context(tracer.instrumented([one.traced_effects.sync_engine for one in databases.values()]))
        breakers = _build_breakers(config)
        gate = DatabaseGate(database.probe, partial(breakers.report, DATABASE))
        stack.push_async_callback(gate.close)
        worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        guard = CrashLoopGuard(database.bookkeeping, gate, worker, config.crash, config.has_failed)
        stack.push_async_exit(partial(_close_guard, guard))
        pauses = Pauses(database.bookkeeping)
        await pauses.refresh()
        shared = SharedResources(
            worker=worker,
            database=database,
            compute=compute,
            breakers=breakers,
            schemas=SchemaLoader(breakers, config.crash),
            gate=gate,
            guard=guard,
            pauses=pauses,
            services=Services(*config.services()),
            reports=reports,
        )
        engines = _build_engines(config, shared, databases)
        maintenance = _build_maintenance(config, shared, engines)
        stack.push_async_callback(maintenance.close)
        breaker_reports = BreakerReports(database.bookkeeping, breakers, worker)
        stack.push_async_callback(breaker_reports.delete)
        stack.callback(shared.schemas.close)
        stack.callback(breakers.close)
        shared.schemas.preload(config.codec, [topic.event for topic in config.catalogue])
        _tune_garbage_collector()
        export_resources(compute, guard, {"worker": database, **{str(name): one for name, one in databases.items()}})
        relay = Relay(database.bookkeeping, config.producer, settings)
        jobs = [breaker_reports.run(), pauses.watch(), metrics.measure_delay(), *maintenance.jobs()]
        start_tasks(stack, relay, jobs, crash=config.crash, stop_timeout=settings.settle_timeout)
        for engine in reversed(engines.values()):
            stack.push_async_callback(engine.stop)
        await register_schedules(database.bookkeeping, config.schedules)
        yield WorkerResources(shared, engines, _build_clock(config, shared))


def _open_database(stack: AsyncExitStack, settings: Settings, *, effects: int, bookkeeping: int) -> Database:
    database = Database(settings, effects_pool_size=effects, bookkeeping_pool_size=bookkeeping)
    stack.push_async_callback(database.dispose)
    return database


def _build_breakers(config: WorkerConfig) -> BreakerRegistry:
    registry = [REGISTRY] if config.settings.has_http_registry else []
    needs = [need for handler in config.handlers for need in handler.needs]
    return BreakerRegistry([DATABASE, KAFKA, *registry, *needs])


async def _close_guard(
    guard: CrashLoopGuard, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
) -> None:
    """Close the guard; not cleanly if an exception closes the resources."""
    await guard.close(clean=error is None)


def _build_engines(
    config: WorkerConfig, shared: SharedResources, databases: Mapping[PoolName, Database]
) -> dict[PoolName, PoolEngine]:
    by_topic = handlers_by_topic(config.catalogue, config.handlers)
    engines = {}
    for pool in config.pools:
        engine = PoolEngine(_pool_context(config, shared, pool, databases[pool.name], by_topic))
        export_window(pool.name, engine)
        topics = [topic.name for topic in config.catalogue.in_pool(pool.name)]
        export_outcomes(config.catalogue.group(pool.name), {topic: by_topic[topic] for topic in topics})
        engines[pool.name] = engine
    return engines


def _pool_context(
    config: WorkerConfig,
    shared: SharedResources,
    pool: Pool,
    database: Database,
    by_topic: Mapping[str, tuple[Handler[Event], ...]],
) -> PoolContext:
    return PoolContext(
        pool=pool,
        group=config.catalogue.group(pool.name),
        settings=config.settings,
        catalogue=config.catalogue,
        codec=config.codec,
        handlers={handler.name: handler for handler in config.handlers},
        by_topic=by_topic,
        limits=config.limits,
        database=database,
        producer=config.producer,
        services=shared.services,
        compute=shared.compute,
        gate=shared.gate,
        settlement_slots=asyncio.Semaphore(BOOKKEEPING_CONNECTIONS // 2),
        guard=shared.guard,
        breakers=shared.breakers,
        pauses=shared.pauses,
        schemas=shared.schemas,
        worker_identity=WorkerIdentity(pool.name, pool.priority, shared.worker),
        crash=config.crash,
        reports=shared.reports,
        spans=_spans(config.catalogue.group(pool.name)),
    )


def _spans(group: str) -> DeliverySpans | None:
    tracer = process_tracer()
    return None if tracer is None else DeliverySpans(tracer, group)


def _build_maintenance(
    config: WorkerConfig, shared: SharedResources, engines: Mapping[PoolName, PoolEngine]
) -> Maintenance:
    return Maintenance(
        config.settings,
        shared.database.bookkeeping,
        catalogue=config.catalogue,
        codec=config.codec,
        schemas=shared.schemas,
        engines=engines,
    )


def _build_clock(config: WorkerConfig, shared: SharedResources) -> ScheduleClock:
    return ScheduleClock(
        shared.database.bookkeeping,
        catalogue=config.catalogue,
        codec=config.codec,
        schemas=shared.schemas,
        handled=handlers_with_rows(config.catalogue, config.handlers),
        worker=shared.worker,
    )


def _tune_garbage_collector() -> None:
    """Exclude the existing objects from garbage collection, and collect less often.

    These objects stay until the process ends, and a delivery leaves few reference cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
