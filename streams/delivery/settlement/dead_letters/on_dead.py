"""Calls a handler's `on_dead`, in a savepoint of the settling transaction and within a time limit."""

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.admission.database_gate import counts_lost_run, database_error_kind
from streams.delivery.dead_letter import described
from streams.delivery.delivery import Delivery
from streams.delivery.errors import SoftTimeLimitExceeded, TimeLimitExceeded
from streams.delivery.execution.attempt import AttemptContext, EffectWork, OpenTransaction
from streams.delivery.execution.process_exit import start_call
from streams.delivery.execution.time_limits import CANCEL_GRACE, run_within
from streams.observability.logs import get_logger

log = get_logger(__name__)


class OnDeadCutOffError(Exception):
    """`on_dead` exceeded its time limit or broke the connection, so its transaction cannot settle the delivery."""


class OnDead:
    """Calls `on_dead` of deliveries that are dead-lettered."""

    def __init__(self, attempts: AttemptContext, time_limit: float) -> None:
        """Create the caller. `time_limit` is the number of seconds that `on_dead` may take."""
        self._attempts = attempts
        self._time_limit = time_limit

    async def call(self, session: AsyncSession, delivery: Delivery, error: BaseException) -> str | None:
        """Call the handler's `on_dead`, and return its error, if any.

        Args:
            session: The settling transaction.
            delivery: What is dead-lettered.
            error: Why.

        Raises:
            OnDeadCutOffError: It took too long, or broke the connection.
            SQLAlchemyError: A database outage, a serialization failure or a deadlock.
        """
        on_dead, limit = delivery.handler.on_dead, self._time_limit
        if on_dead is None:
            return None
        try:
            async with session.begin_nested():
                transaction, tenant = OpenTransaction(session), delivery.event.tenant_id
                work = EffectWork(self._attempts, transaction, delivery.handler, delivery.run_number, tenant)
                await run_within(start_call(on_dead, delivery.event, work, error), limit, limit + CANCEL_GRACE)
        except (SoftTimeLimitExceeded, TimeLimitExceeded) as late:
            raise OnDeadCutOffError(described(late).message) from late
        except Exception as failure:
            kind = database_error_kind(failure)
            if kind == "timeout" and isinstance(failure, DBAPIError) and failure.connection_invalidated:
                raise OnDeadCutOffError(described(failure).message) from failure
            if kind == "outage" and counts_lost_run([delivery], failure):
                raise OnDeadCutOffError(described(failure).message) from failure
            if kind in {"outage", "conflict"}:
                raise
            log.exception("on_dead failed", fault="handler")
            return described(failure).message
        return None
