"""Formats times: relative for people, ISO 8601 for programs."""

from datetime import datetime

MINUTE, HOUR, DAY = 60, 3600, 86_400


def relative(at: datetime, now: datetime) -> str:
    """Format a time relative to `now`: ``12 s ago``, ``3 min ago``, ``in 5 h``, ``9 days ago``."""
    seconds = (now - at).total_seconds()
    span = _span(abs(seconds))
    if span is None:
        return "now"
    return f"{span} ago" if seconds > 0 else f"in {span}"


def absolute(at: datetime) -> str:
    """Format a time in ISO 8601, in seconds, in the machine's time zone: ``2026-01-31T12:00:00+01:00``."""
    return at.astimezone().isoformat(timespec="seconds")


def _span(seconds: float) -> str | None:
    """Format a duration in one unit, rounded down. None: less than a second."""
    if seconds < 1:
        return None
    if seconds < MINUTE:
        return f"{int(seconds)} s"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min"
    if seconds < 2 * DAY:
        return f"{int(seconds // HOUR)} h"
    return f"{int(seconds // DAY)} days"
