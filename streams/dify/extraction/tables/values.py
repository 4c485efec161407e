"""Writes the values of cells as a reader sees them."""

from datetime import datetime, timedelta
from math import isfinite

_DIGITS = 15


def shown(value: object) -> str:
    """Return the text of a value that a library read from a cell. None is the value of an empty cell.

    A date has no midnight, a time of day no date, a whole number no fraction. A number has as many digits as in
    spreadsheets: the others are of its binary form only.
    """
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, float) and isfinite(value):
        return str(int(value)) if value.is_integer() else str(float(f"{value:.{_DIGITS}g}"))
    return str(value)


def _duration(value: timedelta) -> str:
    """Return hours, minutes and seconds, as the formats ``[h]:mm:ss`` show them."""
    seconds = round(value.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
