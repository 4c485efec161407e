"""Durations as people write them: ``250ms``, ``10s``, ``5m``, ``1h``, ``2d``."""

import re
from typing import Annotated

from pydantic import BeforeValidator

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 3650 * 86400.0
"""Seconds. Longer ones overflow the numbers of clients and servers."""
_SHOWN = 12
"""Characters. A longer invalid text is not repeated in the error: it may be anything, such as a URL with a password."""
_PATTERN = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|s|m|h|d|)")


def parse_duration(text: str | float) -> float:
    """Return the seconds of a text such as ``10s``. A number without a unit means seconds.

    Raises ValueError, with the text and the accepted units.
    """
    if isinstance(text, int | float):
        seconds = float(text)
    elif (match := _PATTERN.fullmatch(text.strip())) is None:
        shown = repr(text) if len(text) <= _SHOWN else "the given text"
        message = f"{shown} is not a duration: write a number and a unit of ms, s, m, h or d, such as 10s"
        raise ValueError(message)
    else:
        seconds = float(match["number"]) * _UNIT_SECONDS[match["unit"] or "s"]
    if not 0 <= seconds <= _LONGEST:
        message = "a duration must be from 0s to 3650d"
        raise ValueError(message)
    return seconds


def format_duration(seconds: float) -> str:
    """Return the shortest exact text for a duration: ``0s``, ``10s``, ``1m``, ``90s``, ``250ms``."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    whole = int(seconds)
    for unit in ("d", "h", "m"):
        size = int(_UNIT_SECONDS[unit])
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""A settings field in seconds that also accepts texts such as ``10s``."""
