"""A delivery engine of one pool on a real database and real brokers. A test feeds it instead of a consumer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from streams.codec import Codec, build_codec
from streams.database import Database
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.admission.pauses import Pauses
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.delivery.context import PoolContext, Services
from streams.delivery.delivery import now_ms
from streams.delivery.engine import PoolEngine
from streams.delivery.handler import Handler
from streams.delivery.ledger.columns import WorkerIdentity
from streams.delivery.process_pool import ComputePool
from streams.delivery.spans import DeliverySpans
from streams.headers import Headers
from streams.observability.logs import configure_logging
from streams.observability.tracing import process_tracer
from streams.runtime.declarations import handlers_by_topic
from streams.settings import PoolName, Settings
from streams.topics import Catalogue, Pool, load_catalogue
from streams.transport.kafka.producer import RecordProducer
from streams.transport.kafka.records import Assignment, Chunk, Record, RecordMetadata

PATIENCE = 20.0


class SlowRecords(RecordProducer):
    """The real producer with acknowledgements that are `seconds` late."""

    def __init__(self, settings: Settings, seconds: float) -> None:
        super().__init__(settings)
        self._seconds = seconds

    async def produce(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> RecordMetadata:
        placed = await super().produce(
            topic, key=key, value=value, headers=headers, partition=partition, timestamp=timestamp
        )
        await asyncio.sleep(self._seconds)
        return placed


@dataclass
class Bench:
    """An engine and its dependencies. `crashes` has failures of the engine itself, which would end the process."""

    settings: Settings
    context: PoolContext
    engine: PoolEngine
    codec: Codec
    crashes: list[BaseException] = field(default_factory=list)

    def record(self, event: Event, offset: int, headers: Headers = (), timestamp: int | None = None) -> Record:
        """Return the record of an event on partition 0 of its topic."""
        encoded = self.codec.encode(event)
        at = now_ms() if timestamp is None else timestamp
        return Record(
            encoded.topic, 0, offset, at, "CreateTime", encoded.key, encoded.value, (*encoded.headers, *headers)
        )

    def feed(self, *events: Event) -> Assignment:
        """Feed events of one class as a chunk of an event topic."""
        return self.feed_records([self.record(event, offset) for offset, event in enumerate(events)])

    def feed_records(self, records: Sequence[Record], tier_delay: float | None = None) -> Assignment:
        """Feed records of one partition; with a delay, as records of a retry tier."""
        assignment = Assignment(records[0].topic, records[0].partition)
        assignment.deliver(records)
        chunk = Chunk(assignment, list(records))
        if tier_delay is None:
            self.engine.accept(chunk)
        else:
            self.engine.accept_tier(chunk, tier_delay)
        return assignment

    async def until(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        """Return when the condition is true. Fail with what it waited for, or with a failure of the engine."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not condition():
            assert not self.crashes, f"the engine failed: {self.crashes[0]!r}"
            assert asyncio.get_running_loop().time() < deadline, f"waited {seconds:g} s for {what}"
            await asyncio.sleep(0.02)
        assert not self.crashes, f"the engine failed: {self.crashes[0]!r}"

    async def settled(self, assignment: Assignment, seconds: float = PATIENCE) -> None:
        """Return when every record of the assignment is settled."""
        await self.until(lambda: assignment.unsettled == 0, "the records to be settled", seconds)

    async def query(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """Execute a statement; return its rows, if any."""
        async with AsyncSession(self.context.database.bookkeeping) as session, session.begin():
            found = await session.execute(text(sql), parameters)
            return [dict(row) for row in found.mappings()] if found.returns_rows else []  # type: ignore[attr-defined]

    async def executions(self) -> list[dict[str, Any]]:
        """Return the rows of the ledger, the oldest first."""
        return await self.query("select * from streams.executions order by event_id, handler")


@asynccontextmanager
async def open_bench(
    settings: Settings,
    *handlers: Handler[Any],
    pool: PoolName = "default",
    concurrency: int = 4,
    records: RecordProducer | None = None,
) -> AsyncIterator[Bench]:
    """Open an engine with these handlers. Everything is closed at the end of the block."""
    configure_logging(settings.model_copy(update={"log_format": "json"}))
    catalogue: Catalogue = load_catalogue(settings)
    codec = build_codec(settings, catalogue, blocking=False)
    database = Database(settings, effects_pool_size=concurrency, bookkeeping_pool_size=4)
    records = records or RecordProducer(settings)
    await records.start()
    compute = ComputePool(1)
    crashes: list[BaseException] = []
    gate = DatabaseGate(database.bookkeeping)
    breakers = BreakerRegistry(need for handler in handlers for need in handler.needs)
    context = PoolContext(
        pool=Pool(pool, priority=1, concurrency=concurrency, prefetch=2000),
        group=catalogue.group(pool),
        settings=settings,
        catalogue=catalogue,
        codec=codec,
        handlers={handler.name: handler for handler in handlers},
        by_topic=handlers_by_topic(catalogue, handlers),
        limits={},
        database=database,
        producer=records,
        services=Services(),
        compute=compute,
        gate=gate,
        settlement_slots=asyncio.Semaphore(2),
        breakers=breakers,
        schemas=SchemaLoader(breakers, crashes.append),
        pauses=Pauses(database.bookkeeping),
        guard=CrashLoopGuard(database.bookkeeping, gate, "bench", crashes.append),
        worker_identity=WorkerIdentity(pool, 1, "bench"),
        crash=crashes.append,
        spans=None if (tracer := process_tracer()) is None else DeliverySpans(tracer, catalogue.group(pool)),
    )
    engine = PoolEngine(context)
    try:
        yield Bench(settings, context, engine, codec, crashes)
    finally:
        await engine.stop()
        await context.gate.close()
        await records.stop()
        await database.dispose()
        await compute.close()
