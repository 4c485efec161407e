"""Times as people say them, and as programs read them."""

from datetime import datetime

MINUTE, HOUR, DAY = 60, 3600, 86_400


def relative(at: datetime, now: datetime) -> str:
    """How long ago, or in how long: ``12 s ago``, ``3 min ago``, ``in 5 h``, ``9 days ago``."""
    seconds = (now - at).total_seconds()
    span = _span(abs(seconds))
    if span is None:
        return "now"
    return f"{span} ago" if seconds > 0 else f"in {span}"


def absolute(at: datetime) -> str:
    """ISO 8601 in seconds with the offset, in the machine's time zone: ``2026-01-31T12:00:00+01:00``."""
    return at.astimezone().isoformat(timespec="seconds")


def _span(seconds: float) -> str | None:
    """A length of time in one unit, rounded down; None: under a second."""
    if seconds < 1:
        return None
    if seconds < MINUTE:
        return f"{int(seconds)} s"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min"
    if seconds < 2 * DAY:
        return f"{int(seconds // HOUR)} h"
    return f"{int(seconds // DAY)} days"
