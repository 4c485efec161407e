"""What one worker process runs beside Faust: a delivery engine a pool, the relay, the sweep; started and drained here.

Knows no Faust: `bootstrap` hangs it into the app.
"""

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from schemas import Event
from streams.codec import Codec
from streams.database import (
    Database,
    DatabaseNotMigratedError,
    DatabaseUnavailableError,
    check_database,
)
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
from streams.delivery.settlement.settle_loop import KAFKA
from streams.observability import metrics
from streams.observability.logs import get_logger
from streams.operations.topics.apply import check_topics
from streams.publishing.outbox.relay import Relay
from streams.runtime.maintenance import Maintenance
from streams.settings import PoolName, Settings
from streams.topics import Catalogue, Pool
from streams.transport.kafka.errors import StartError
from streams.transport.kafka.producer import RecordProducer
from streams.transport.kafka.records import Assignment

log = get_logger(__name__)
BOOKKEEPING_CONNECTIONS = 4
"""Of each pool: for claims, heartbeats and settlements."""
UPKEEP_CONNECTIONS = 8
"""For the relay, the crash guard, the upkeep of the ledger, the look for stranded documents, and the health page."""
DATABASE = "database"
"""The dependency's name, as `streams breakers` shows it."""


class Worker:
    """One process's engines and their surroundings. Listens to what the transport assigns and revokes."""

    def __init__(  # noqa: PLR0913 - what the composition root puts together
        self,
        settings: Settings,
        *,
        catalogue: Catalogue,
        codec: Codec,
        handlers: Sequence[Handler[Event]],
        limits: Mapping[str, int],
        pools: Sequence[Pool],
        records: RecordProducer,
        services: Callable[[], Sequence[object]],
        preload: Sequence[str],
        crash: Callable[[BaseException], None],
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._codec = codec
        self._handlers = handlers
        self._limits = limits
        self._pools = pools
        self._records = records
        self._make_services = services
        self._preload = preload
        self._crash = crash
        self._engines: dict[PoolName, PoolEngine] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._relay_stop = asyncio.Event()
        self._database: Database | None = None
        self._databases: list[Database] = []
        self._compute: ComputePool | None = None
        self._gate: DatabaseGate | None = None
        self._guard: CrashLoopGuard | None = None
        self._breakers: BreakerRegistry | None = None
        self._breaker_rows: BreakerReports | None = None
        self._schemas: SchemaLoader | None = None
        self._upkeep: Maintenance | None = None
        self.stopping = False

    @property
    def engines(self) -> Mapping[PoolName, PoolEngine]:
        """The engines by pool; empty before the start."""
        return self._engines

    async def check(self) -> None:
        """Refuse to start where something is missing. Raises StartError, whose line names it and what to do."""
        problems = await asyncio.to_thread(check_topics, self._settings, self._catalogue)
        if problems:
            more = f" (and {len(problems) - 1} more: streams topics check)" if len(problems) > 1 else ""
            raise StartError(problems[0] + more)
        try:
            await asyncio.to_thread(check_database, self._settings)
        except (DatabaseUnavailableError, DatabaseNotMigratedError) as error:
            raise StartError(str(error)) from error

    async def start(self) -> None:
        """Open what the engines need and start the relay, the sweep and the ledger's upkeep."""
        settings = self._settings
        database = Database(settings, effects_pool_size=1, bookkeeping_pool_size=UPKEEP_CONNECTIONS)
        self._database = database
        registry = [REGISTRY] if settings.has_http_registry else []
        needs = [need for handler in self._handlers for need in handler.needs]
        self._breakers = BreakerRegistry([DATABASE, KAFKA, *registry, *needs])
        self._schemas = SchemaLoader(self._breakers, self._crash)
        self._gate = DatabaseGate(database.bookkeeping, partial(self._breakers.tell, DATABASE))
        self._compute = ComputePool(settings.compute_processes, preload=self._preload, memory=settings.compute_memory)
        worker = f"{socket.gethostname()}:{os.getpid()}"
        self._guard = CrashLoopGuard(database.bookkeeping, self._gate, worker, self._crash)
        pauses = Pauses(database.bookkeeping)
        await pauses.look()
        services = Services(*self._make_services())
        by_topic = handlers_by_topic(self._catalogue, self._handlers)
        for pool in self._pools:
            # Connections of its own: a pool whose handlers wait for rows keeps no other from its work.
            connections = pool.connections or pool.concurrency
            own = Database(settings, effects_pool_size=connections, bookkeeping_pool_size=BOOKKEEPING_CONNECTIONS)
            self._databases.append(own)
            self._engines[pool.name] = PoolEngine(
                PoolContext(
                    pool=pool,
                    group=self._catalogue.group(pool.name),
                    settings=settings,
                    catalogue=self._catalogue,
                    codec=self._codec,
                    handlers={handler.name: handler for handler in self._handlers},
                    by_topic=by_topic,
                    limits=self._limits,
                    database=own,
                    records=self._records,
                    services=services,
                    compute=self._compute,
                    gate=self._gate,
                    settling=asyncio.Semaphore(BOOKKEEPING_CONNECTIONS // 2),
                    guard=self._guard,
                    breakers=self._breakers,
                    pauses=pauses,
                    schemas=self._schemas,
                    place=WorkerIdentity(pool.name, pool.priority, worker),
                    crash=self._crash,
                )
            )
            watch_window(pool.name, self._engines[pool.name])
        self._schemas.warm(self._codec, [topic.event for topic in self._catalogue])
        _spare_the_collector()
        relay = Relay(database.bookkeeping, self._records, settings)
        self._begin(relay.run(self._relay_stop))
        self._begin(self._compute.started())
        self._breaker_rows = BreakerReports(database.bookkeeping, self._breakers, worker)
        self._begin(self._breaker_rows.run())
        self._begin(pauses.watch())
        self._upkeep = Maintenance(
            settings,
            database.bookkeeping,
            catalogue=self._catalogue,
            codec=self._codec,
            schemas=self._schemas,
            engines=self._engines,
        )
        for work in self._upkeep.work():
            self._begin(work)

    async def stop(self, *, clean: bool = True) -> None:
        """End everything; call it when the consumers are closed. Not clean: something failed that ends the process."""
        self.stopping = True
        for engine in self._engines.values():
            await engine.stop()
        self._relay_stop.set()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=self._settings.settle_timeout) if self._tasks else None
        if self._breakers is not None and self._schemas is not None:
            self._breakers.close()
            self._schemas.close()
        if self._breaker_rows is not None:
            await self._breaker_rows.forget()
        if self._upkeep is not None:
            await self._upkeep.close()
        if self._guard is not None:
            await self._guard.close(clean=clean)
        if self._gate is not None:
            await self._gate.close()
        for database in (*self._databases, *([] if self._database is None else [self._database])):
            await database.dispose()
        if self._compute is not None:
            await asyncio.to_thread(self._compute.close)

    @property
    def open_breakers(self) -> Mapping[str, str]:
        """Dependency → why work that needs it waits."""
        known = () if self._breakers is None else self._breakers.all
        return {breaker.dependency: breaker.error or "" for breaker in known if breaker.state != "closed"}

    async def database_error(self) -> str | None:
        """Why the database is out of reach, in one line; None: it answers."""
        if self._database is None:
            return "not connected yet"
        try:
            async with asyncio.timeout(2), self._database.bookkeeping.connect() as connection:
                await connection.execute(text("select 1"))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            return " ".join(str(error).split()) or type(error).__name__
        return None

    # What the transport tells (streams.transport.kafka.group.AssignmentListener).

    def assigned(self, assignments: Collection[Assignment]) -> None:
        """Partitions came; nothing to prepare, chunks follow."""

    async def revoking(self, assignments: Collection[Assignment]) -> None:
        """Finish what runs of these partitions and begin nothing more of them."""
        await asyncio.gather(*(engine.revoking(assignments) for engine in self._engines.values()))

    def revoked(self, assignments: Collection[Assignment]) -> None:
        """They are gone: cancel the rest."""
        for engine in self._engines.values():
            engine.revoked(assignments)
        if self._guard is not None:
            self._guard.gone(assignments)
        if self._schemas is not None:
            self._schemas.gone(assignments)

    async def drain(self) -> None:
        """The worker leaves: finish what runs, hand long work on, begin nothing."""
        self.stopping = True
        await asyncio.gather(*(engine.drain() for engine in self._engines.values()))

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a part of the worker failed", exc_info=error)
            self._crash(error)


def watch_window(pool: str, engine: PoolEngine) -> None:
    """Show how many deliveries run and wait: asked at each scrape, for they change with every delivery."""
    metrics.in_flight(pool).set_function(lambda: engine.running)
    metrics.waiting(pool).set_function(lambda: engine.received)


def _spare_the_collector() -> None:
    """What is loaded by now stays for good: the collector need not look through it again and again.

    A delivery leaves few cycles behind, so it looks less often, too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


def handlers_by_topic(
    catalogue: Catalogue, handlers: Sequence[Handler[Event]]
) -> dict[str, tuple[Handler[Event], ...]]:
    """Each topic's handlers, in the order of declaration."""
    return {topic.name: tuple(handler for handler in handlers if handler.event is topic.event) for topic in catalogue}
