"""The state of one settlement over all its tries, and whether its outcome still counts."""

from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.dead_letter import described
from streams.delivery.delivery import Delivery, at_ms, now_ms
from streams.delivery.ledger import leases
from streams.delivery.ledger.settle import FINAL
from streams.delivery.settlement.decision import Outcome, after_rejection
from streams.delivery.settlement.pending_send import PendingSend
from streams.delivery.settlement.reduction import Reduction
from streams.observability.tracing import NO_SPAN, Span
from streams.transport.kafka.records import ProduceError, RecordMetadata


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run of a delivery: its start, the lease of a long delivery, and its span."""

    delivery: Delivery
    started_at: datetime
    lease: leases.Lease | None = None
    span: Span = NO_SPAN


@dataclass(slots=True)
class Settling:
    """The state of one settlement over all its tries."""

    attempt: Attempt
    outcome: Outcome
    error: BaseException | None
    """What `on_dead` is called with."""
    record: PendingSend
    written: Reduction
    placed: RecordMetadata | None = None
    """The position of the sent record."""
    on_dead_failure: str | None = None
    """Why `on_dead` was cut off. It is then not called again."""
    began: float = field(default_factory=perf_counter)
    """When the settlement began, in seconds of `time.perf_counter`."""
    span: Span = NO_SPAN
    may_be_committed: bool = False
    """Whether a try has reached its COMMIT. Only the row then shows whether it succeeded."""

    def reduce(self, error: Exception) -> None:
        """Continue with less of the record after a rejection. Raises `error` if the same form has to wait."""
        before = self.written.form
        self.written.reduce(error)
        form = self.written.form
        if not self.outcome.is_dead and (isinstance(error, ProduceError) or not form.row):
            # A retry needs its row and its value. The DLQ may accept what a retry tier rejects.
            self.outcome = after_rejection(self.attempt.delivery, self.outcome, described(error))
            self.record = self.record.another()
            self.written = Reduction(before if form.row else form)


def without_run(delivery: Delivery) -> Attempt:
    """Return an attempt that begins and ends now, for a delivery that did not run."""
    return Attempt(delivery, at_ms(now_ms()))


async def lock_lease(session: AsyncSession, attempt: Attempt, outcome: Outcome) -> bool:
    """Lock the attempt's lease, always before the row; False: it cannot be settled here, because it is held."""
    if attempt.lease is None:
        return True
    if outcome.lost:
        return await leases.lock_lost_lease(session, attempt.lease)
    return await leases.lock_lease(session, attempt.lease)


def moved_on(row: RowMapping, attempt: Attempt) -> bool:
    """Return whether the locked row says that this attempt's outcome no longer counts."""
    if row["status"] in FINAL or row["seq"] > attempt.delivery.seq:
        return True
    if attempt.lease is None:
        return bool(row["status"] == "started")
    return bool(row["lease_token"] != attempt.lease.token)
