"""Formats one value as text, for a table cell or the line of a field."""

import json
from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len, set_cell_size

from streams.cli.screen import Screen
from streams.cli.times import absolute, relative
from streams.observability.printable import escape_line

EMPTY = "-"
ELLIPSIS = "…"


def format_cell(value: object, screen: Screen) -> str:
    """Format a value in one line. Times are relative on a terminal. The items of a list of strings follow commas."""
    match value:
        case None | "" | [] | ():
            return EMPTY
        case bool():
            return "yes" if value else "no"
        case datetime():
            return relative(value, screen.now) if screen.is_terminal else absolute(value)
        case list() | tuple() if all(isinstance(one, str) for one in value):
            return escape_line(", ".join(value))
        case list() | tuple() | dict():
            return escape_line(to_json(value))
        case _:
            text = str(value)
            return escape_line(text if screen.shows_everything else " ".join(text.split()))


def format_rate(per_second: float | None) -> str | None:
    """Format a rate, with one decimal below ten."""
    if per_second is None:
        return None
    return f"{per_second:.0f}/s" if per_second == 0 or per_second >= 10 else f"{per_second:.1f}/s"  # noqa: PLR2004


def truncate(value: object, whole: str, width: int) -> str:
    """Shorten a value to `width` cells. A list of names is cut after a whole name, other text at any character.

    Args:
        value: The value; its type decides where it may be cut.
        whole: The formatted value, wider than `width`.
        width: Width in terminal cells.
    """
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return _truncate_names(value, width)
    return set_cell_size(whole, width - 1).rstrip() + ELLIPSIS


def to_json(value: object) -> str:
    """Return compact JSON. Times are in ISO 8601 with their offset; other types that JSON lacks become strings."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _truncate_names(names: Sequence[str], width: int) -> str:
    """Return as many names as fit, and the number of the others: ``document.deleted, +3``."""
    for shown in range(len(names) - 1, 0, -1):
        text = escape_line(", ".join(names[:shown])) + f", +{len(names) - shown}"
        if cell_len(text) <= width:
            return text
    count = f"{len(names)}"
    return count if cell_len(count) <= width else ELLIPSIS
