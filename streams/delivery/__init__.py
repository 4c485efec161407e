"""How an event becomes its effect, once: decode, claim, lanes, time limits, settle.

The names listed here are the public ones. Exceptions carry this path as their module, so that what headers, ledger rows
and fingerprints say of them does not change when their file does.
"""

from streams.delivery.errors import (
    BrokenTransactionError,
    CancelledError,
    ComputeCrashedError,
    ExpiredError,
    LeaseLostError,
    OutOfMemoryError,
    Permanent,
    Reason,
    ResourceBusyError,
    Retry,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    UnaskedCancellationError,
    Unavailable,
)
from streams.delivery.handler import Backoff, Handler, handles
from streams.delivery.work import Work

__all__ = [
    "Backoff",
    "BrokenTransactionError",
    "CancelledError",
    "ComputeCrashedError",
    "ExpiredError",
    "Handler",
    "LeaseLostError",
    "OutOfMemoryError",
    "Permanent",
    "Reason",
    "ResourceBusyError",
    "Retry",
    "SoftTimeLimitExceeded",
    "TimeLimitExceeded",
    "UnaskedCancellationError",
    "Unavailable",
    "Work",
    "handles",
]
