"""Rows as a table: the columns that matter and fit on a terminal, or all of them.

Nothing is wrapped. Only a flexible column may be cut; ids and names are shown whole, or their column is not shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.text import Text

from streams.cli.cells import cell, cut
from streams.cli.screen import Screen

GAP = 2
"""Blanks between two columns."""
DETAIL = 9
"""Columns of this priority and higher numbers are shown only where every one before them is."""
COMFORT = 60
"""Cells that a flexible column takes before columns of lower priority are considered."""

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; the order of columns is that on the screen."""

    name: str
    """Its heading, and the field of a row that it shows."""
    priority: int
    """1 is shown on any terminal; columns of higher numbers give way first."""
    least: int | None = None
    """The column is flexible: its text may be cut down to so many cells. None: it is shown whole."""
    styles: Mapping[str, str] = field(default_factory=dict)
    """Colours by value."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a column needs, in cells: `natural` to show all of it, `least` to be shown at all."""

    natural: int
    least: int
    priority: int


def fit(needs: Sequence[Need], width: int) -> list[int | None]:
    """Which columns fit into `width` cells, and how wide each is; None: it is not shown.

    Columns are taken by their priority, where one does not fit the next is tried, but not the details; the first is
    always shown. What is left then goes to those that could use it, by priority too.
    """
    order = sorted(range(len(needs)), key=lambda place: needs[place].priority)
    given: dict[int, int] = {}
    free, complete = width, True
    for place in order:
        need = needs[place]
        room = free - (GAP if given else 0)
        if given and (room < need.least or (need.priority >= DETAIL and not complete)):
            complete = False
            continue
        given[place] = max(need.least, min(need.natural, room, COMFORT))
        free = room - given[place]
    for place in order:
        if place in given:
            more = max(0, min(needs[place].natural - given[place], free))
            given[place] += more
            free -= more
    return [given.get(place) for place in range(len(needs))]


@dataclass(frozen=True, slots=True)
class Table:
    """Lines ready to be shown."""

    heading: Text
    lines: list[Text]
    """One for each row."""
    left_out: int
    """Columns with values that did not fit."""

    @property
    def note(self) -> str | None:
        """What is said below the table."""
        if not self.left_out:
            return None
        return f"{self.left_out} more {'column' if self.left_out == 1 else 'columns'} with --wide"


def table(columns: Sequence[Column], rows: Sequence[Row], screen: Screen) -> Table:
    """The rows as lines. On a terminal, columns without any value are not shown."""
    used = [column for column in columns if screen.is_whole or _has_values(column, rows)]
    cells = {column.name: [cell(row.get(column.name), screen) for row in rows] for column in used}
    needs = [_need(column, cells[column.name]) for column in used]
    widths = [need.natural for need in needs] if screen.is_whole else fit(needs, screen.width)
    shown = [(column, width) for column, width in zip(used, widths, strict=True) if width is not None]
    right = {column.name for column in used if _is_number(column, rows)}
    heading = _line([Text(column.name, style="bold") for column, _ in shown], shown, right)
    lines = []
    for number, row in enumerate(rows):
        texts = []
        for column, width in shown:
            whole = cells[column.name][number]
            text = whole if cell_len(whole) <= width else cut(row.get(column.name), whole, width)
            texts.append(Text(text, style=column.styles.get(whole, "")))
        lines.append(_line(texts, shown, right))
    return Table(heading, lines, left_out=len(used) - len(shown))


def table_lines(columns: Sequence[Column], rows: Sequence[Row], screen: Screen) -> list[Text]:
    """The whole table: heading, rows, and below them how many columns did not fit."""
    shown = table(columns, rows, screen)
    note = [Text(shown.note, style="dim")] if shown.note else []
    return [shown.heading, *shown.lines, *note]


def _line(texts: Sequence[Text], shown: Sequence[tuple[Column, int]], right: set[str]) -> Text:
    parts: list[Text | str] = []
    for number, (text, (column, width)) in enumerate(zip(texts, shown, strict=True)):
        blanks = " " * max(0, width - text.cell_len)
        last = number == len(shown) - 1
        parts += [blanks, text] if column.name in right else [text, "" if last else blanks]
        parts += [] if last else [" " * GAP]
    return Text.assemble(*parts)


def _need(column: Column, cells: Sequence[str]) -> Need:
    natural = max(cell_len(column.name), *(cell_len(one) for one in cells), 0)
    least = natural if column.least is None else min(natural, max(column.least, cell_len(column.name)))
    return Need(natural, least, column.priority)


def _has_values(column: Column, rows: Sequence[Row]) -> bool:
    return column.priority == 1 or any(row.get(column.name) not in (None, "", [], ()) for row in rows)


def _is_number(column: Column, rows: Sequence[Row]) -> bool:
    values = [value for row in rows if (value := row.get(column.name)) is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
