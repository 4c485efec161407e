"""Decides how a delivery goes on after an attempt that did not succeed. Pure: values in, an `Outcome` out."""

from dataclasses import dataclass

from schemas import Event
from streams.delivery.delivery import Delivery
from streams.delivery.errors import Permanent, Reason, Retry, SoftTimeLimitExceeded, TimeLimitExceeded
from streams.delivery.handler import Handler
from streams.observability.error_text import ErrorText

CRASHES_UNTIL_DEATH = 3
"""Lost leases after which a long delivery counts as the one that kills its workers."""


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
    """`retry` or `failure`, as the row has it."""
    seq: int
    attempts: int
    history_outcome: str
    """How the row's history calls the end of the attempt."""
    ended_at: int
    """When the attempt ended, ms since the epoch; its settlement may take longer."""
    error: ErrorText | None = None
    due_at: int | None = None
    """Of a retry: when it runs again, ms since the epoch."""
    reason: Reason | None = None
    """Of a failure: why the delivery is dead."""
    lost: int = 0
    """Leases lost with this attempt."""
    why: str = ""
    """Of a deferral: why the delivery is deferred, for logs."""

    @property
    def is_dead(self) -> bool:
        """Whether the delivery becomes a dead letter."""
        return self.status == "failure"

    @property
    def error_line(self) -> str | None:
        """The error in one line, as the row and the history have it."""
        return None if self.error is None else f"{self.error.type_name}: {self.error.message}"


def decide(handler: Handler[Event], run: int, error: BaseException, now: int, spread: float) -> Again | Dead:
    """Decide what follows a failed run of a handler.

    Args:
        handler: Its retry policy and its fatal errors count.
        run: The number of the run that failed; 1 is the first.
        error: What it failed with.
        now: ms since the epoch.
        spread: In [0, 1); places the delay within the policy's jitter.
    """
    if isinstance(error, Permanent):
        return Dead(Reason.PERMANENT)
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
    """Return the outcome of a failed attempt: another attempt by the handler's policy, or death.

    Args:
        delivery: What was attempted.
        error: What the attempt failed with.
        text: The error as text, for the row, the records and the log.
        now: ms since the epoch.
        spread: As in `decide`.
    """
    decision = decide(delivery.handler, delivery.run, error, now, spread)
    if isinstance(decision, Again):
        return Outcome("retry", delivery.seq + 1, delivery.run, "retry", now, text, due_at=decision.due_at)
    return Outcome("failure", delivery.seq + 1, delivery.run, "failure", now, text, reason=decision.reason)


def after_deferral(delivery: Delivery, why: str, *, after: float, now: int) -> Outcome:
    """Return the outcome of a delivery that runs later; no attempt is counted.

    Args:
        delivery: What did not run, or did not run to its end.
        why: The cause, for logs.
        after: Seconds until it runs.
        now: ms since the epoch.
    """
    due_at = now + round(after * 1000)
    return Outcome("retry", delivery.seq + 1, delivery.attempts, "deferred", now, due_at=due_at, why=why)


def after_lost_lease(delivery: Delivery, lost_before: int, *, now: int) -> Outcome:
    """Return the outcome of an attempt whose worker let its lease expire: it runs again at once, or is dead.

    Args:
        delivery: The long delivery.
        lost_before: Leases that it had lost before this one.
        now: ms since the epoch.
    """
    lost = lost_before + 1
    line = f"the worker that ran it went away ({lost} of {CRASHES_UNTIL_DEATH})"
    text = ErrorText(type_name="LeaseLost", message=line, stack="")
    seq, run = delivery.seq + 1, delivery.run
    if lost < CRASHES_UNTIL_DEATH:
        return Outcome("retry", seq, run, "crashed", now, text, due_at=now, lost=1)
    return Outcome("failure", seq, run, "crashed", now, text, reason=Reason.CRASHED, lost=1)


def after_expiry(delivery: Delivery, text: ErrorText, *, now: int) -> Outcome:
    """Return the outcome of a delivery whose event expired before an attempt; `now` in ms since the epoch."""
    seq, attempts = delivery.seq + 1, delivery.attempts
    return Outcome("failure", seq, attempts, "expired", now, text, reason=Reason.EXPIRED)


def after_process_deaths(delivery: Delivery, *, now: int) -> Outcome:
    """Return the outcome of a delivery that ended its process in each run; `now` in ms since the epoch."""
    text = ErrorText("ProcessKilled", "its worker's process ended each time that it ran", "")
    return Outcome("failure", delivery.seq + 1, delivery.run, "crashed", now, text, reason=Reason.CRASHED)
