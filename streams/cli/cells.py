"""One value as text, for a table's cell or a field's line."""

import json
from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len, set_cell_size

from streams.cli.printable import one_line
from streams.cli.screen import Screen
from streams.cli.times import absolute, relative

NOTHING = "-"
ELLIPSIS = "…"


def cell(value: object, screen: Screen) -> str:
    """The value in one line. Times are relative on a terminal; lists of texts are separated by commas."""
    match value:
        case None | "" | [] | ():
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case datetime():
            return relative(value, screen.now) if screen.terminal else absolute(value)
        case list() | tuple() if all(isinstance(one, str) for one in value):
            return one_line(", ".join(value))
        case list() | tuple() | dict():
            return one_line(to_json(value))
        case _:
            text = str(value)
            return one_line(text if screen.is_whole else " ".join(text.split()))


def cut(value: object, whole: str, width: int) -> str:
    """A cell that is wider than `width` cells, cut: a list of names after a whole name, other text anywhere."""
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return _cut_names(value, width)
    return set_cell_size(whole, width - 1).rstrip() + ELLIPSIS


def to_json(value: object) -> str:
    """Compact JSON; times in ISO 8601 with their offset, anything else that JSON lacks as text."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _cut_names(names: Sequence[str], width: int) -> str:
    """As many names as fit, and how many more there are: ``document.deleted, +3``."""
    for shown in range(len(names) - 1, 0, -1):
        text = one_line(", ".join(names[:shown])) + f", +{len(names) - shown}"
        if cell_len(text) <= width:
            return text
    count = f"{len(names)}"
    return count if cell_len(count) <= width else ELLIPSIS
