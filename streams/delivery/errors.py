"""What a handler may raise to say how its delivery goes on, and the reasons a delivery dies for."""

from enum import StrEnum

LONGEST_DELAY = 7 * 24 * 3600.0
"""Seconds for which a retry can be put off; with it the ledger's retention stays above every retry's horizon."""


class Reason(StrEnum):
    """Why a record is in a DLQ."""

    DECODE = "decode"
    VALIDATION = "validation"
    UNKNOWN_SCHEMA = "unknown-schema"
    UNKNOWN_HANDLER = "unknown-handler"
    EXHAUSTED = "exhausted"
    PERMANENT = "permanent"
    FATAL = "fatal"
    TIME_LIMIT = "time-limit"
    CRASHED = "crashed"
    EXPIRED = "expired"
    BAD_EVENT_ID = "bad-event-id"
    ROW_STILL_EXISTS = "row-still-exists"


class Retry(Exception):  # noqa: N818 - reads as what it asks for: `raise Retry(after=30)`
    """Asks for another attempt, at the policy's time or after so many seconds (at most a week). Counts as an attempt.

    `reason` is what a dead letter says if this is what used up the last attempt.
    """

    __module__ = "streams.delivery"

    def __init__(self, message: str = "", *, after: float | None = None, reason: Reason = Reason.EXHAUSTED) -> None:
        super().__init__(message)
        self.after = None if after is None else min(max(0.0, float(after)), LONGEST_DELAY)
        self.reason = reason


class Permanent(Exception):  # noqa: N818 - reads as what it says: `raise Permanent("the file is empty")`
    """No attempt can succeed: straight to the DLQ, with this message."""

    __module__ = "streams.delivery"


class Unavailable(Exception):  # noqa: N818 - reads as what it says: `raise Unavailable("embeddings", …)`
    """A dependency does not answer, or answers with a failure of its own (5xx): not the delivery's fault.

    It counts against the dependency's breaker. While that is closed the handler runs again a few times at once;
    once it is open the delivery waits, uncounted.
    """

    __module__ = "streams.delivery"

    def __init__(self, dependency: str, message: str) -> None:
        super().__init__(dependency, message)
        self.dependency = dependency

    def __str__(self) -> str:
        return str(self.args[1])


class SoftTimeLimitExceeded(Exception):  # noqa: N818 - Celery's name for the same thing
    """The handler ran longer than its soft time limit and was cancelled."""

    __module__ = "streams.delivery"


class TimeLimitExceeded(Exception):  # noqa: N818 - Celery's name for the same thing
    """The handler did not end by its hard time limit; its attempt is fenced and no longer awaited."""

    __module__ = "streams.delivery"


class ExpiredError(Exception):
    """What `on_dead` is told: the event expired before an attempt could begin."""

    __module__ = "streams.delivery"


class UnaskedCancellationError(Exception):
    """The handler raised a cancellation that nobody had asked for, such as that of a task which it awaited."""

    __module__ = "streams.delivery"


class BrokenTransactionError(Exception):
    """The handler left its transaction in a state that cannot be committed together with the ledger's row."""

    __module__ = "streams.delivery"


class LeaseLostError(Exception):
    """Another worker holds this delivery by now: stop, nothing that you do here may count."""

    __module__ = "streams.delivery"


class ResourceBusyError(Exception):
    """Another delivery holds the handler's resource: defer, uncounted."""

    __module__ = "streams.delivery"


class ComputeCrashedError(Exception):
    """The process that ran the code died, by a crash or for want of memory."""

    __module__ = "streams.delivery"


class OutOfMemoryError(ComputeCrashedError):
    """The code asked for more memory than its process may take."""

    __module__ = "streams.delivery"


class CancelledError(Exception):
    """What `on_dead` is told: an operator cancelled the delivery."""

    __module__ = "streams.delivery"


class StrayCancellationError(Exception):
    """A task was cancelled by code that does not own it. Only a new start does the work that it had not settled."""
