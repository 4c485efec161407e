"""Calls a handler's `on_dead`, in a savepoint of the settling transaction and within a time limit."""

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery.admission.database_gate import trouble
from streams.delivery.delivery import Delivery
from streams.delivery.errors import SoftTimeLimitExceeded, TimeLimitExceeded
from streams.delivery.execution.attempt import AttemptContext, EffectWork, OpenTransaction, awaited
from streams.delivery.execution.time_limits import CANCEL_GRACE, run_within
from streams.observability.error_text import ErrorText, describe, type_name
from streams.observability.logs import get_logger

log = get_logger(__name__)


class OnDeadCutOffError(Exception):
    """`on_dead` did not end in time, or broke the connection: its transaction cannot be the settlement's."""


class OnDead:
    """Rolls back the business status of deliveries that die."""

    def __init__(self, attempts: AttemptContext, time_limit: float) -> None:
        """`time_limit`: seconds that a handler's `on_dead` may take."""
        self._attempts = attempts
        self._time_limit = time_limit

    async def call(self, session: AsyncSession, delivery: Delivery, error: BaseException) -> str | None:
        """Call the handler's `on_dead`, and return what it failed with, if it did.

        Args:
            session: The settling transaction.
            delivery: What dies.
            error: Why.

        Raises:
            OnDeadCutOffError: It took too long, or broke the connection.
            SQLAlchemyError: The database is away, or a race for rows was lost.
        """
        on_dead, limit = delivery.handler.on_dead, self._time_limit
        if on_dead is None:
            return None
        try:
            async with session.begin_nested():
                work = EffectWork(self._attempts, OpenTransaction(session), delivery.handler, delivery.run)
                await run_within(awaited(on_dead(delivery.event, work, error)), limit, limit + CANCEL_GRACE)
        except (SoftTimeLimitExceeded, TimeLimitExceeded) as late:
            raise OnDeadCutOffError(told(late).message) from late
        except Exception as failure:
            kind = trouble(failure)
            if kind == "held up" and isinstance(failure, DBAPIError) and failure.connection_invalidated:
                raise OnDeadCutOffError(told(failure).message) from failure
            if kind in {"outage", "conflict"}:
                raise
            log.exception("on_dead failed")
            return told(failure).message
        return None


def told(error: BaseException) -> ErrorText:
    """Describe an exception; one whose own text fails must not keep its delivery from being settled."""
    try:
        return describe(error)
    except Exception as unprintable:
        log.exception("an exception cannot be printed", error_type=type_name(error))
        return ErrorText(type_name(error), f"its text cannot be told: {type_name(unprintable)}", "")
