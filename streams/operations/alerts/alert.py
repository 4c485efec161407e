"""An alert, and the change of one that a notice is about."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Kind = Literal[
    "lag", "age", "kafka", "dead-letters", "missed-slots", "outbox", "celery-queue", "celery-broker", "handler-error"
]
"""lag, age: a topic. dead-letters: a DLQ. missed-slots: a schedule. handler-error: a handler and a type of error."""
State = Literal["raised", "recovered"]


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is wrong now."""

    kind: Kind
    subject: str
    """What it is about, such as a topic. Kind and subject identify an alert."""
    detail: str
    """One line."""

    @property
    def name(self) -> str:
        """The key of its row."""
        return f"{self.kind}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check."""

    kinds: Collection[Kind]
    """The kinds that could be checked. An alert of another kind lasts, since nothing is known about it."""
    alerts: Collection[Alert]
    unknown: Collection[str] = ()
    """The names of alerts that could not be checked. They last too."""


@dataclass(frozen=True, slots=True)
class Change:
    """An alert that was raised or has recovered."""

    state: State
    name: str
    kind: str
    detail: str
    raised_at: datetime
    recovered_at: datetime | None

    @property
    def line(self) -> str:
        """One line for people."""
        since = f"{self.raised_at:%Y-%m-%d %H:%M:%S %Z}"
        return f"{self.state}: {self.name}: {self.detail} (since {since})"
