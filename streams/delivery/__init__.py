"""Delivers events to handlers, each effect once: decode, schedule, claim, run within time limits, settle.

The names in `__all__` are public. Exceptions have this path as their module: headers, ledger rows and fingerprints
contain it, so it must not change when a file moves.
"""

from streams.delivery.errors import (
    BrokenTransactionError,
    CancelledError,
    ComputeCrashedError,
    ExpiredError,
    LeaseLostError,
    OutOfMemoryError,
    Permanent,
    ProcessExitError,
    ProcessorTimeExceededError,
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
    "ProcessExitError",
    "ProcessorTimeExceededError",
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
