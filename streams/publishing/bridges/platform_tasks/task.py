"""One of the platform's Celery tasks: its name, its event, and the transaction in which the event is published."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from streams.publishing.bridges.sender_transaction import EventSource

AFTER_SENDER = timedelta(seconds=1)
"""The delay of an event whose sender does something else right after its call: its commit, or setting a key in Redis.
In most cases it has done that by then."""


@dataclass(frozen=True, slots=True)
class PlatformTask:
    """One task and its event."""

    name: str
    """Celery's name: module and function. Two tasks have the same function's name."""
    to_event: Callable[..., EventSource]
    """Returns the event for the task's arguments, which are values that JSON has.

    Its signature is the task's. If a row has a part of the event, it returns a function of the session.
    """
    transaction: Literal["sender's", "own"] = "own"
    """`"own"` if the platform calls the task after its commit, in a transaction that it does not commit."""
    delay: timedelta = timedelta(0)
    """How long after the call the event is sent, unless the call has a countdown or an eta."""
    has_code: bool = False
    """True: the event has a code, which is valid for STREAMS_MAIL_CODE_LIFETIME. No attempt is made after that."""
    is_frequent: bool = False
    """True: it may be called many times a second. It can be published straight to Kafka."""

    @property
    def short_name(self) -> str:
        """The name of the task's function."""
        return self.name.rpartition(".")[2]
