"""What the parts of one pool's delivery share, put together once by the composition root."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from schemas import Event
from streams.codec import Codec
from streams.database import Database
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.admission.pauses import Pauses
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.delivery.handler import Handler
from streams.delivery.ledger.columns import WorkerIdentity
from streams.delivery.process_pool import ComputePool
from streams.headers import Headers
from streams.settings import Settings
from streams.topics import Catalogue, Pool
from streams.transport.kafka.records import RecordMetadata

T = TypeVar("T")


class Records(Protocol):
    """Where retry and DLQ records go: returns once the brokers have acknowledged, raises ProduceError."""

    async def produce(self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers) -> RecordMetadata:
        """Produce one record."""


class Services:
    """What handlers ask for by type: `work.use(Platform)`."""

    def __init__(self, *provided: object) -> None:
        self._provided = {type(service): service for service in provided}

    def use(self, kind: type[T]) -> T:
        """The service of a type. Raises LookupError, naming the type."""
        service = self._provided.get(kind)
        if not isinstance(service, kind):
            message = f"nothing provides {kind.__name__}; the composition root names what handlers may use"
            raise LookupError(message)  # noqa: TRY004 - nothing has a wrong type, something is missing
        return service


@dataclass(frozen=True, slots=True)
class PoolContext:
    """One pool's surroundings. `crash` ends the process: for failures of the engine itself, never of a handler."""

    pool: Pool
    group: str
    settings: Settings
    catalogue: Catalogue
    codec: Codec
    handlers: Mapping[str, Handler[Event]]
    """By name, those of every pool: a retry record may name one that has moved."""
    by_topic: Mapping[str, tuple[Handler[Event], ...]]
    limits: Mapping[str, int]
    """Handler name → its runs at once in this process, where it has a limit of its own."""
    database: Database
    records: Records
    services: Services
    compute: ComputePool
    gate: DatabaseGate
    settling: asyncio.Semaphore
    """Settlements at once of this pool: while Kafka is away each holds a connection that heartbeats need too."""
    guard: CrashLoopGuard
    breakers: BreakerRegistry
    pauses: Pauses
    schemas: SchemaLoader
    place: WorkerIdentity
    crash: Callable[[BaseException], None]
