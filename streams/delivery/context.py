"""What the parts of one pool's delivery engine share. The composition root builds it once."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from streams.delivery.spans import DeliverySpans
from streams.headers import Headers
from streams.observability.sentry.reporter import SentryReports
from streams.settings import Settings
from streams.topics import Catalogue, Pool
from streams.transport.kafka.records import NewRecord, ProduceError, RecordMetadata

T = TypeVar("T")


class Producer(Protocol):
    """Produces retry and DLQ records."""

    async def produce(self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers) -> RecordMetadata:
        """Produce one record; return after the brokers have acknowledged it. Raises ProduceError."""

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Sequence[ProduceError | None]]":
        """Queue records; return the future of their outcomes, in their order. None: acknowledged."""


class Services:
    """The services that handlers get by type: `work.use(Platform)`."""

    def __init__(self, *provided: object) -> None:
        self._provided = {type(service): service for service in provided}

    def use(self, kind: type[T]) -> T:
        """Return the service of a type. Raises LookupError with the name of the type."""
        service = self._provided.get(kind)
        if not isinstance(service, kind):
            message = f"nothing provides {kind.__name__}; the composition root names what handlers may use"
            raise LookupError(message)  # noqa: TRY004 - nothing has a wrong type, something is missing
        return service


@dataclass(frozen=True, slots=True)
class PoolContext:
    """The dependencies of one pool's engine.

    `crash` ends the process. It is called for failures of the engine itself, never for those of a handler.
    """

    pool: Pool
    group: str
    settings: Settings
    catalogue: Catalogue
    codec: Codec
    handlers: Mapping[str, Handler[Event]]
    """By name, the handlers of every pool: a retry record may name one whose topic has moved to another pool."""
    by_topic: Mapping[str, tuple[Handler[Event], ...]]
    limits: Mapping[str, int]
    """Handler name → its concurrent runs in this process, for handlers with a limit of their own."""
    database: Database
    producer: Producer
    services: Services
    compute: ComputePool
    gate: DatabaseGate
    settlement_slots: asyncio.Semaphore
    """Limits concurrent settlements: during a Kafka outage each holds a connection that heartbeats need too."""
    guard: CrashLoopGuard
    breakers: BreakerRegistry
    pauses: Pauses
    schemas: SchemaLoader
    worker_identity: WorkerIdentity
    crash: Callable[[BaseException], None]
    reports: SentryReports | None = None
    """Gets each dead letter; None: Sentry is not used."""
    spans: DeliverySpans | None = None
    """None: there is no exporter of traces."""
