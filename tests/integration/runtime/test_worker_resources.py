"""A worker closes its resources in order, even if something fails. Real database, in this process."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from streams.codec import build_codec
from streams.database import Database
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.breaker_reports import BreakerReports
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.admission.pauses import Pauses
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.delivery.engine import PoolEngine
from streams.delivery.process_pool import ComputePool
from streams.publishing.outbox.relay import Relay
from streams.runtime.declarations import build_handlers, build_pools
from streams.runtime.maintenance import Maintenance
from streams.runtime.resources import WorkerConfig, open_resources
from streams.runtime.worker import Worker
from streams.settings import Settings
from streams.topics import load_catalogue
from streams.transport.kafka.producer import RecordProducer
from streams.transport.kafka.records import Assignment
from tests.support.processes.worker_process import PATIENCE, rows, scalar


@pytest.fixture(autouse=True)
def collector(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the garbage collector as it is: a worker would tune it for the whole process of these tests.

    A connection that was being made when its task was cancelled is in a reference cycle. It is collected before the
    database is dropped: until its client closes it, the server waits for its login, for a minute.
    """
    del environment
    monkeypatch.setattr("streams.runtime.resources._tune_garbage_collector", lambda: None)
    yield
    gc.collect()


@asynccontextmanager
async def configured(settings: Settings, services: Callable[[], list[object]] = list) -> AsyncIterator[WorkerConfig]:
    catalogue = load_catalogue(settings)
    records = RecordProducer(settings)
    failures: list[BaseException] = []
    await records.start()
    try:
        yield WorkerConfig(
            settings=settings,
            catalogue=catalogue,
            codec=build_codec(settings, catalogue, blocking=False),
            handlers=build_handlers(settings),
            limits={},
            pools=build_pools(settings),
            producer=records,
            services=services,
            preload=(),
            crash=failures.append,
        )
        assert not failures
    finally:
        await records.stop()


def connections(engine: Engine, settings: Settings) -> int:
    """Return the number of database connections of the worker."""
    found = scalar(
        engine,
        "select count(*) from pg_stat_activity where application_name in (:effects, :bookkeeping)",
        effects=f"{settings.application}-effects",
        bookkeeping=f"{settings.application}-bookkeeping",
    )
    return int(str(found))


async def no_connections(engine: Engine, settings: Settings) -> None:
    """Wait until no connection is left. The server notices a closed connection a moment later.

    A connection whose request was cancelled closes on the event loop, and one that was being made when it is collected.
    """
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(connections, engine, settings):
            gc.collect()
            await asyncio.sleep(0.05)


@pytest.mark.requirement("Source tree and packaging", "a worker's resources are opened and closed by one exit stack")
async def test_everything_is_closed_in_order(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    started: dict[str, asyncio.Event] = {}

    def record_call(kind: type, method: str) -> None:
        original = getattr(kind, method)

        def recorded(self: object, *args: object, **kwargs: object) -> object:
            order.append(f"{kind.__name__}.{method}")
            return original(self, *args, **kwargs)

        monkeypatch.setattr(kind, method, recorded)

    def record_end(kind: type, method: str) -> None:
        original = getattr(kind, method)
        task = started[f"{kind.__name__}.{method}"] = asyncio.Event()

        async def recorded(self: object, *args: object) -> None:
            task.set()
            try:
                await original(self, *args)
            except asyncio.CancelledError:
                order.append(f"{kind.__name__}.{method} cancelled")
                raise
            order.append(f"{kind.__name__}.{method} returned")

        monkeypatch.setattr(kind, method, recorded)

    record_call(PoolEngine, "stop")
    record_end(Relay, "run")
    record_end(Pauses, "watch")
    record_call(BreakerRegistry, "close")
    record_call(SchemaLoader, "close")
    record_call(BreakerReports, "delete")
    record_call(Maintenance, "close")
    record_call(CrashLoopGuard, "close")
    record_call(DatabaseGate, "close")
    record_call(Database, "dispose")
    record_call(ComputePool, "close")
    before = asyncio.all_tasks()
    async with configured(settings) as config:
        async with open_resources(config) as opened:
            assert list(opened.engines) == [pool.name for pool in config.pools]
            async with asyncio.timeout(10):
                await asyncio.gather(*(task.wait() for task in started.values()))
            assert connections(engine, settings)
            assert not order
        pools = len(config.pools)
        assert order[:pools] == ["PoolEngine.stop"] * pools
        assert set(order[pools : pools + 2]) == {"Relay.run returned", "Pauses.watch cancelled"}
        assert order[pools + 2 :] == [
            "BreakerRegistry.close",
            "SchemaLoader.close",
            "BreakerReports.delete",
            "Maintenance.close",
            "CrashLoopGuard.close",
            "DatabaseGate.close",
            *["Database.dispose"] * (pools + 1),
            "ComputePool.close",
        ]
    await no_connections(engine, settings)
    assert asyncio.all_tasks() == before


@pytest.mark.requirement("Source tree and packaging", "a worker's resources are opened and closed by one exit stack")
async def test_a_start_that_the_database_rejects_leaves_no_connection(settings: Settings, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("drop table streams.pauses")
    before = asyncio.all_tasks()
    async with configured(settings) as config:
        worker = Worker(config)
        with pytest.raises(ProgrammingError):
            await worker.start()
        assert worker.engines == {}
        await no_connections(engine, settings)
        await worker.stop()
    assert asyncio.all_tasks() == before


async def test_services_that_cannot_be_built_leave_no_connection(settings: Settings, engine: Engine) -> None:
    """They are built after the first connections and before the engines."""

    def fail() -> list[object]:
        raise LookupError("no such model")

    before = asyncio.all_tasks()
    async with configured(settings, fail) as config:
        with pytest.raises(LookupError, match="no such model"):
            await Worker(config).start()
        await no_connections(engine, settings)
    assert asyncio.all_tasks() == before


async def test_a_stop_while_it_starts_closes_everything(settings: Settings, engine: Engine) -> None:
    before = asyncio.all_tasks()
    async with configured(settings) as config:
        worker = Worker(config)
        starting = asyncio.create_task(worker.start())
        await asyncio.sleep(0)  # until it waits for the database
        assert not starting.done()
        await worker.stop()
        await starting
        assert worker.engines == {}
        await no_connections(engine, settings)
    assert asyncio.all_tasks() == before


async def test_a_resource_that_cannot_be_closed_does_not_keep_others_open(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_maintenance: Maintenance) -> None:
        raise OSError("cannot be closed")

    monkeypatch.setattr(Maintenance, "close", fail)
    before = asyncio.all_tasks()
    async with configured(settings) as config:
        worker = Worker(config)
        await worker.start()
        with pytest.raises(OSError, match="cannot be closed"):
            await worker.stop()
        await no_connections(engine, settings)
    assert asyncio.all_tasks() == before


async def test_a_failed_worker_keeps_the_rows_of_its_guard(settings: Settings, engine: Engine) -> None:
    """A later start then knows that a process failed on this offset. A clean end deletes the row."""
    left: dict[bool, list[dict[str, object]]] = {}
    for clean in (False, True):
        async with configured(settings) as config:
            worker = Worker(config)
            await worker.start()
            topic = config.catalogue.in_pool("default")[0].name
            assignment = Assignment(topic, 0, config.catalogue.group("default"))
            assignment.start = 0
            async with asyncio.timeout(10):
                await worker.engines["default"].context.guard.register(assignment)
            await worker.stop(clean=clean)
            left[clean] = list(rows(engine, "select topic, starts from streams.partition_starts"))
    assert left == {False: [{"topic": topic, "starts": 1}], True: []}


@pytest.mark.requirement("Faults of others", "R25: two processes with the same host name and id have different names")
@pytest.mark.usefixtures("topics")
async def test_the_name_of_a_worker_is_its_own(settings: Settings) -> None:
    """As in two containers with the network of their host. Their rows of starts and breakers are apart."""
    names = []
    async with configured(settings) as config:
        for _ in range(2):
            async with open_resources(config) as resources:
                names.append(resources.shared.worker)
    assert names[0] != names[1]
    assert names[0].rpartition(":")[0] == names[1].rpartition(":")[0]
