"""Defers deliveries that a pause or an open breaker blocks: in batches, without a slot of the pool."""

from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from streams import headers
from streams.delivery.admission.database_gate import database_error_kind
from streams.delivery.context import Producer
from streams.delivery.delivery import Delivery, acknowledge_all, at_ms, header_number, now_ms, read_history
from streams.delivery.ledger.claim import insert_deferred
from streams.delivery.ledger.columns import WorkerIdentity
from streams.delivery.scheduling.retry_tiers import RetryTiers, rest_of_deferral
from streams.delivery.settlement.records import RetryState, retry_record
from streams.delivery.settlement.settle_loop import SettleLoop
from streams.delivery.telemetry import Telemetry
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.transport.kafka.records import Assignment, NewRecord, ProduceError

log = get_logger(__name__)
BATCH = 250
"""Deliveries that are sent together."""

Start = Callable[[Assignment | None, Coroutine[object, object, None]], None]
"""Runs a coroutine in the background, in a task of an assignment."""


class SettleAlone(Protocol):
    """Defers one delivery whose record a tier refuses for good."""

    async def __call__(self, delivery: Delivery, why: str, *, after: float) -> None:
        """Settle and acknowledge it. `after`: seconds until it is checked again."""


class _Kind(NamedTuple):
    """What is deferred in one batch: deliveries of one assignment and handler, for one reason."""

    assignment: Assignment | None
    handler: str
    why: str


class Deferrals:
    """The blocked deliveries of one pool on their way to a retry tier. Runs on the event loop.

    The first deferral writes a row with the status `retry`, so that commands show the delivery. A later one writes
    nothing but the record. `streams-seq` stays the same, so of two copies after a crash only one runs.
    """

    def __init__(  # noqa: PLR0913 - one argument per dependency
        self,
        bookkeeping: AsyncEngine,
        producer: Producer,
        tiers: RetryTiers,
        identity: WorkerIdentity,
        *,
        telemetry: Telemetry,
        loop: SettleLoop,
        start: Start,
        settle_alone: SettleAlone,
    ) -> None:
        """Create an empty queue.

        Args:
            bookkeeping: The database with the ledger.
            producer: Sends the records.
            tiers: The retry tiers of the pool.
            identity: Who defers.
            telemetry: Called after the records are acknowledged.
            loop: Repeats a batch until it is acknowledged.
            start: Runs the sending in the background.
            settle_alone: Defers a delivery whose record cannot be sent in a batch.
        """
        self._bookkeeping = bookkeeping
        self._producer = producer
        self._tiers = tiers
        self._identity = identity
        self._telemetry = telemetry
        self._loop = loop
        self._start = start
        self._settle_alone = settle_alone
        self._queues: dict[_Kind, deque[Delivery]] = {}

    def add(self, deliveries: Sequence[Delivery], why: str) -> None:
        """Defer deliveries and acknowledge them, in the background. `why` is for the log."""
        for delivery in deliveries:
            kind = _Kind(delivery.assignment, delivery.handler.name, why)
            queue = self._queues.get(kind)
            if queue is None:
                queue = self._queues[kind] = deque()
                self._start(kind.assignment, self._send_all(kind, queue))
            queue.append(delivery)

    def discard(self, assignments: Collection[Assignment]) -> None:
        """Discard what is not being sent. The next owners of the partitions read it again."""
        for kind, queue in self._queues.items():
            if kind.assignment in assignments:
                queue.clear()

    def close(self) -> None:
        """Discard everything that is not being sent."""
        for queue in self._queues.values():
            queue.clear()

    async def _send_all(self, kind: _Kind, queue: deque[Delivery]) -> None:
        try:
            while queue:
                await self._send([queue.popleft() for _ in range(min(BATCH, len(queue)))], kind.why)
        finally:
            del self._queues[kind]

    async def _send(self, deliveries: Sequence[Delivery], why: str) -> None:
        """Write the rows of first deferrals, send all records, acknowledge those that are sent."""
        batch = DeferredBatch(deliveries, self._tiers)

        async def settle() -> None:
            if first := [delivery for delivery in batch.unsent if needs_row(delivery)]:
                await self._write_rows(first, batch.due_at)
            await batch.send(self._producer)

        await self._loop.repeat(self._tiers.topic_for(batch.rest), settle, slot=False)
        if batch.sent:
            acknowledge_all(batch.sent)
            self._telemetry.deferred_all(batch.sent, why)
        for delivery in batch.refused:
            await self._settle_alone(delivery, why, after=batch.rest)

    async def _write_rows(self, deliveries: Sequence[Delivery], due_at: int) -> None:
        """Write the rows of deliveries. A value that the database refuses costs a row, but stops no delivery."""
        try:
            async with self._loop.slots, AsyncSession(self._bookkeeping) as session, session.begin():
                await insert_deferred(session, deliveries, self._identity, at_ms(due_at))
        except Exception as error:
            if database_error_kind(error) is not None:
                raise
            if len(deliveries) == 1:
                log.warning("cannot write the row of a deferred delivery", error=message(error))
                return
            for delivery in deliveries:
                await self._write_rows([delivery], due_at)


class DeferredBatch:
    """Deliveries of one handler that are sent to a tier together, over all tries."""

    def __init__(self, deliveries: Sequence[Delivery], tiers: RetryTiers) -> None:
        counts = [header_number(delivery.record, headers.DEFERRALS) or 0 for delivery in deliveries]
        self.rest = rest_of_deferral(min(counts), tiers.delays)
        """Seconds until the deliveries are checked again."""
        self.due_at = now_ms() + round(self.rest * 1000)
        """The end of the rest, ms since the epoch."""
        self._topic = tiers.topic_for(self.rest)
        self._counts = {id(delivery): count + 1 for delivery, count in zip(deliveries, counts, strict=True)}
        self.unsent = list(deliveries)
        self.sent: list[Delivery] = []
        self.refused: list[Delivery] = []
        """Their records cannot be built, or are refused for good, for example because they are too large."""

    async def send(self, producer: Producer) -> None:
        """Send what is not sent yet. Raises ProduceError if a record may be accepted later."""
        records = self._records()
        outcomes = await (await producer.send_all(record for _, record in records))
        failure: ProduceError | None = None
        self.unsent = []
        for (delivery, _), error in zip(records, outcomes, strict=True):
            if error is None:
                self.sent.append(delivery)
            elif error.retriable:
                self.unsent.append(delivery)
                failure = error
            else:
                self.refused.append(delivery)
        if failure is not None:
            raise failure

    def _records(self) -> list[tuple[Delivery, NewRecord]]:
        """Return what is not sent yet, with its records. One that cannot be built holds up no other delivery."""
        built = []
        for delivery in self.unsent:
            try:
                built.append((delivery, self._record(delivery)))
            except Exception:
                log.exception("cannot build the record of a deferred delivery", fault="record")
                self.refused.append(delivery)
        self.unsent = [delivery for delivery, _ in built]
        return built

    def _record(self, delivery: Delivery) -> NewRecord:
        state = RetryState(
            delivery.seq,
            delivery.attempts,
            self.due_at,
            delivery.first_failed_at,
            read_history(delivery.record.headers),
            self._counts[id(delivery)],
        )
        record = retry_record(delivery, self._topic, state)
        return NewRecord(record.topic, record.key, record.value, record.headers)


def needs_row(delivery: Delivery) -> bool:
    """Return whether no row shows the delivery yet: it comes from its event topic, or from a move without a row."""
    is_new = delivery.seq == 0 and headers.last(delivery.record.headers, headers.DEFERRALS) is None
    return is_new and delivery.handler.ledger
