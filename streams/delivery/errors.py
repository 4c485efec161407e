"""Exceptions that a handler raises to control its retries, and the reasons for a dead letter."""

from enum import StrEnum

LONGEST_DELAY = 7 * 24 * 3600.0
"""Maximum delay of a retry in seconds. It keeps every retry within the retention of the ledger."""


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
    """Asks for another attempt. The failed one counts.

    Args:
        message: What failed, in one line.
        after: Seconds until the next attempt, at most a week; None: as the retry policy says.
        reason: The reason of the dead letter if this was the last attempt.
    """

    __module__ = "streams.delivery"

    def __init__(self, message: str = "", *, after: float | None = None, reason: Reason = Reason.EXHAUSTED) -> None:
        super().__init__(message)
        self.after = None if after is None else min(max(0.0, float(after)), LONGEST_DELAY)
        self.reason = reason


class Permanent(Exception):  # noqa: N818 - reads as what it says: `raise Permanent("the file is empty")`
    """No attempt can succeed: the delivery is dead-lettered at once with this message."""

    __module__ = "streams.delivery"


class Unavailable(Exception):  # noqa: N818 - reads as what it says: `raise Unavailable("embeddings", …)`
    """A dependency does not answer, or answers with an error of its own (5xx): the delivery is not the cause.

    The failure counts for the circuit breaker of the dependency. While it is closed, the handler runs again a few
    times at once. Once it is open, the delivery waits and no attempt is counted.

    Args:
        dependency: Its name, as in the handler's `needs`.
        message: What failed, in one line.
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
    """The handler did not end by its hard time limit. It is no longer awaited, and its effect cannot commit."""

    __module__ = "streams.delivery"


class ExpiredError(Exception):
    """Passed to `on_dead`: the event expired before an attempt could start.

    A handler may raise it if what its event asks for has ended: the delivery is dead-lettered at once, as expired.
    """

    __module__ = "streams.delivery"


class UnaskedCancellationError(Exception):
    """The handler raised a CancelledError without being cancelled, for example from a task that it awaited."""

    __module__ = "streams.delivery"


class ProcessExitError(Exception):
    """The handler raised SystemExit or another exception that would end the process, for example by `sys.exit()`."""

    __module__ = "streams.delivery"


class BrokenTransactionError(Exception):
    """The handler left its transaction in a state that cannot be committed together with the ledger row."""

    __module__ = "streams.delivery"


class LeaseLostError(Exception):
    """The lease is lost, and another worker may hold the delivery: stop, since nothing can be committed here."""

    __module__ = "streams.delivery"


class ResourceBusyError(Exception):
    """Another delivery holds the handler's resource. The delivery is deferred and no attempt is counted."""

    __module__ = "streams.delivery"


class ComputeCrashedError(Exception):
    """The process that ran the code crashed or ran out of memory."""

    __module__ = "streams.delivery"


class OutOfMemoryError(ComputeCrashedError):
    """The code needed more memory than its process may use."""

    __module__ = "streams.delivery"


class ProcessorTimeExceededError(TimeoutError):
    """The code used more processor time than it may. The process that ran it is killed."""

    __module__ = "streams.delivery"


class CancelledError(Exception):
    """Passed to `on_dead`: an operator cancelled the delivery."""

    __module__ = "streams.delivery"


class StrayCancellationError(Exception):
    """A task was cancelled by code that does not own it. The process must restart to settle its records."""


class DayDroppedError(Exception):
    """The ledger has no partition for the delivery's day: the event is older than the ledger's retention."""


class OutageError(Exception):
    """The database does not answer. The delivery waits, and the run is not counted."""
