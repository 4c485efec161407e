"""What a check found: one line, and the remedy."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "fail"]
"""fail: some work is certain to fail. warning: something may fail, or could not be checked."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    subject: str
    """What was checked, such as "PostgreSQL version"."""
    state: State
    text: str
    """What was found, without a full stop."""
    remedy: str = ""
    """What to do; empty if the state is ok."""
    stops_worker: bool = False
    """Whether a worker must not start: every delivery would fail, or other clients would be harmed."""


def ok(subject: str, text: str) -> Finding:
    """Return that a check passed."""
    return Finding(subject, "ok", text)
