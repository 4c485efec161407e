"""Formats rows as a table: the important columns that fit on a terminal, or all columns.

No cell is wrapped. Only a flexible column may be cut. The column of an id or a name is shown whole or not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.text import Text

from streams.cli.cells import format_cell, truncate
from streams.cli.screen import Screen

GAP = 2
"""Spaces between two columns."""
DETAIL_PRIORITY = 9
"""Columns with this priority number or a higher one are shown only if all columns before them are."""
FLEXIBLE_WIDTH = 60
"""Cells that a flexible column gets before columns of lower priority."""

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. Columns are shown in the order in which they are given."""

    name: str
    """The heading, and the field of a row that the column shows."""
    priority: int
    """A column with priority 1 is always shown. Columns with higher numbers are left out first."""
    min_width: int | None = None
    """Cells that the text of a flexible column may be cut to. None: the column is shown whole."""
    styles: Mapping[str, str] = field(default_factory=dict)
    """Colours by value."""


@dataclass(frozen=True, slots=True)
class WidthNeed:
    """The cells that a column needs: `full_width` to be shown whole, `min_width` to be shown at all."""

    full_width: int
    min_width: int
    priority: int


def fit_columns(needs: Sequence[WidthNeed], width: int) -> list[int | None]:
    """Return the width of each column in a line of `width` cells. None: the column is not shown.

    Columns are chosen by priority. If one does not fit, the next one is tried, but no details. The first column is
    always shown. Cells that remain go to the flexible columns, also by priority.
    """
    order = sorted(range(len(needs)), key=lambda place: needs[place].priority)
    given: dict[int, int] = {}
    free, complete = width, True
    for place in order:
        need = needs[place]
        room = free - (GAP if given else 0)
        if given and (room < need.min_width or (need.priority >= DETAIL_PRIORITY and not complete)):
            complete = False
            continue
        given[place] = max(need.min_width, min(need.full_width, room, FLEXIBLE_WIDTH))
        free = room - given[place]
    for place in order:
        if place in given:
            more = max(0, min(needs[place].full_width - given[place], free))
            given[place] += more
            free -= more
    return [given.get(place) for place in range(len(needs))]


@dataclass(frozen=True, slots=True)
class Table:
    """The formatted lines of a table."""

    heading: Text
    lines: list[Text]
    """One line per row."""
    hidden_columns: int
    """The number of columns with values that do not fit."""

    @property
    def note(self) -> str | None:
        """The line below the table."""
        if not self.hidden_columns:
            return None
        return f"{self.hidden_columns} more {'column' if self.hidden_columns == 1 else 'columns'} with --wide"


def build_table(columns: Sequence[Column], rows: Sequence[Row], screen: Screen) -> Table:
    """Format rows as lines. On a terminal, columns without any value are not shown."""
    used = [column for column in columns if screen.shows_everything or _has_values(column, rows)]
    cells = {column.name: [format_cell(row.get(column.name), screen) for row in rows] for column in used}
    needs = [_need(column, cells[column.name]) for column in used]
    widths = [need.full_width for need in needs] if screen.shows_everything else fit_columns(needs, screen.width)
    shown = [(column, width) for column, width in zip(used, widths, strict=True) if width is not None]
    right = {column.name for column in used if _is_number(column, rows)}
    heading = _line([Text(column.name, style="bold") for column, _ in shown], shown, right)
    lines = []
    for number, row in enumerate(rows):
        texts = []
        for column, width in shown:
            whole = cells[column.name][number]
            text = whole if cell_len(whole) <= width else truncate(row.get(column.name), whole, width)
            texts.append(Text(text, style=column.styles.get(whole, "")))
        lines.append(_line(texts, shown, right))
    return Table(heading, lines, hidden_columns=len(used) - len(shown))


def table_lines(columns: Sequence[Column], rows: Sequence[Row], screen: Screen) -> list[Text]:
    """Return all lines of the table: heading, rows, and the number of columns that do not fit."""
    shown = build_table(columns, rows, screen)
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


def _need(column: Column, cells: Sequence[str]) -> WidthNeed:
    full_width = max(cell_len(column.name), *(cell_len(one) for one in cells), 0)
    least = full_width if column.min_width is None else min(full_width, max(column.min_width, cell_len(column.name)))
    return WidthNeed(full_width, least, column.priority)


def _has_values(column: Column, rows: Sequence[Row]) -> bool:
    return column.priority == 1 or any(row.get(column.name) not in (None, "", [], ()) for row in rows)


def _is_number(column: Column, rows: Sequence[Row]) -> bool:
    values = [value for row in rows if (value := row.get(column.name)) is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
