"""Decides what follows an attempt that did not succeed. Pure: values in, an `Outcome` out."""

from dataclasses import dataclass

from schemas import Event
from streams.delivery.delivery import Delivery
from streams.delivery.errors import (
    ExpiredError,
    Permanent,
    Reason,
    Retry,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
)
from streams.delivery.handler import Handler
from streams.observability.error_text import ErrorText

CRASHES_UNTIL_DEATH = 3
"""Lost leases after which a long delivery is dead-lettered, because it probably crashes its workers."""


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt, not before `due_at` (ms since the epoch)."""

    due_at: int


@dataclass(frozen=True, slots=True)
class Dead:
    """No other attempt."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: the next state of the delivery's row, and what its next record says."""

    status: str
    """The status of the row: `retry` or `failure`."""
    seq: int
    attempts: int
    history_outcome: str
    """The `outcome` of the attempt in the row's history."""
    ended_at: int
    """When the attempt ended, ms since the epoch; its settlement may take longer."""
    error: ErrorText | None = None
    due_at: int | None = None
    """For a retry: when it runs again, ms since the epoch."""
    reason: Reason | None = None
    """For a failure: why the delivery is dead."""
    lost: int = 0
    """Leases that this attempt lost: 0 or 1."""
    why: str = ""
    """For a deferral: its cause, for logs."""

    @property
    def is_dead(self) -> bool:
        """Whether the delivery becomes a dead letter."""
        return self.status == "failure"

    @property
    def told(self) -> str:
        """The outcome as spans have it: `dead`, `retry`, `deferred` or `crashed`."""
        return "dead" if self.is_dead else self.history_outcome

    @property
    def error_line(self) -> str | None:
        """The error in one line, as the row and the history have it."""
        return None if self.error is None else f"{self.error.type_name}: {self.error.message}"


def decide(handler: Handler[Event], run: int, error: BaseException, now: int, spread: float) -> Again | Dead:
    """Decide what follows a failed run of a handler.

    Args:
        handler: Has the retry policy and the fatal errors.
        run: The number of the run that failed; 1 is the first.
        error: What it failed with.
        now: ms since the epoch.
        spread: A random number in [0, 1): the part of the policy's jitter to add.
    """
    if isinstance(error, Permanent):
        return Dead(Reason.PERMANENT)
    if isinstance(error, ExpiredError):
        return Dead(Reason.EXPIRED)
    if isinstance(error, handler.fatal):
        return Dead(Reason.FATAL)
    delay = handler.retry.delay(run, spread)
    if delay is None:
        if isinstance(error, SoftTimeLimitExceeded | TimeLimitExceeded):
            return Dead(Reason.TIME_LIMIT)
        return Dead(error.reason if isinstance(error, Retry) else Reason.EXHAUSTED)
    if isinstance(error, Retry) and error.after is not None:
        delay = max(0.0, error.after)
    return Again(now + round(delay * 1000))


def after_failure(delivery: Delivery, error: BaseException, text: ErrorText, *, now: int, spread: float) -> Outcome:
    """Return the outcome of a failed attempt: another attempt as the retry policy says, or a dead letter.

    Args:
        delivery: What was attempted.
        error: The error of the attempt.
        text: The error as text, for the row, the records and the log.
        now: ms since the epoch.
        spread: As in `decide`.
    """
    decision = decide(delivery.handler, delivery.run_number, error, now, spread)
    if isinstance(decision, Again):
        return Outcome("retry", delivery.seq + 1, delivery.run_number, "retry", now, text, due_at=decision.due_at)
    return Outcome("failure", delivery.seq + 1, delivery.run_number, "failure", now, text, reason=decision.reason)


def after_deferral(delivery: Delivery, why: str, *, after: float, now: int) -> Outcome:
    """Return the outcome of a delivery that runs later; no attempt is counted.

    Args:
        delivery: What did not run, or did not finish.
        why: The cause, for logs.
        after: Seconds until it runs.
        now: ms since the epoch.
    """
    due_at = now + round(after * 1000)
    return Outcome("retry", delivery.seq + 1, delivery.attempts, "deferred", now, due_at=due_at, why=why)


def after_lost_lease(delivery: Delivery, lost_before: int, *, now: int) -> Outcome:
    """Return the outcome of an attempt whose worker let its lease expire: it runs again at once, or is dead-lettered.

    Args:
        delivery: The long delivery.
        lost_before: Leases that the delivery lost before this one.
        now: ms since the epoch.
    """
    lost = lost_before + 1
    line = f"the worker that ran it stopped without settling it ({lost} of {CRASHES_UNTIL_DEATH})"
    text = ErrorText(type_name="LeaseLost", message=line, stack="")
    seq, run = delivery.seq + 1, delivery.run_number
    if lost < CRASHES_UNTIL_DEATH:
        return Outcome("retry", seq, run, "crashed", now, text, due_at=now, lost=1)
    return Outcome("failure", seq, run, "crashed", now, text, reason=Reason.CRASHED, lost=1)


def after_expiry(delivery: Delivery, text: ErrorText, *, now: int) -> Outcome:
    """Return the outcome of a delivery whose event expired before an attempt; `now` in ms since the epoch."""
    seq, attempts = delivery.seq + 1, delivery.attempts
    return Outcome("failure", seq, attempts, "expired", now, text, reason=Reason.EXPIRED)


def after_rejection(delivery: Delivery, outcome: Outcome, rejection: ErrorText) -> Outcome:
    """Return the outcome of a delivery whose retry record Kafka, or whose row the database, rejects for good.

    Args:
        delivery: What was to run again.
        outcome: What was decided before.
        rejection: Why that cannot be written.
    """
    error = outcome.error or rejection
    text = ErrorText(error.type_name, f"{error.message} (no retry: {rejection.message})", error.stack)
    seq, attempts = delivery.seq + 1, outcome.attempts
    return Outcome("failure", seq, attempts, "failure", outcome.ended_at, text, reason=Reason.FATAL, lost=outcome.lost)


def after_engine_failure(delivery: Delivery, text: ErrorText, *, now: int) -> Outcome:
    """Return the outcome of a delivery for which the engine itself failed; `now` in ms since the epoch."""
    return Outcome("failure", delivery.seq + 1, delivery.attempts, "failure", now, text, reason=Reason.FATAL)


def after_process_deaths(delivery: Delivery, *, now: int) -> Outcome:
    """Return the outcome of a delivery that crashed its process in each run; `now` in ms since the epoch."""
    text = ErrorText("ProcessKilled", "the worker process crashed in each run of this delivery", "")
    return Outcome("failure", delivery.seq + 1, delivery.run_number, "crashed", now, text, reason=Reason.CRASHED)
