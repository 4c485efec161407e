"""How an event becomes its effect, once: decode, claim, lanes, time limits, settle."""

from streams.delivery.failures import LeaseLostError, Permanent, Retry, SoftTimeLimitExceeded, Unavailable
from streams.delivery.handler import Backoff, Handler, handles
from streams.delivery.work import Work

__all__ = [
    "Backoff",
    "Handler",
    "LeaseLostError",
    "Permanent",
    "Retry",
    "SoftTimeLimitExceeded",
    "Unavailable",
    "Work",
    "handles",
]
