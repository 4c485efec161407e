"""Repeats the value of a tall merged cell in each of its rows."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streams.dify.extraction.tables.rows import Row

_MAX_OPEN = 100
"""Tall cells beside each other. More of them are not repeated, so that a row costs what its cells cost."""


class MergedCell(NamedTuple):
    """A cell of several rows or columns."""

    row: int
    """The first row, from 1."""
    last_row: int
    column: int
    """The first column, from 0."""
    last_column: int


def with_merged_cells(rows: Iterable[Row], cells: Iterable[MergedCell]) -> Iterator[Row]:
    """Yield the rows with their merged cells, as a reader sees them.

    Each row below the first of a tall cell has its value too. A row knows its wide cells: those of a head name several
    columns.
    """
    starting: dict[int, list[MergedCell]] = {}
    for cell in cells:
        starting.setdefault(cell.row, []).append(cell)
    open_cells: dict[int, tuple[int, object]] = {}
    for row in rows:
        values = row.values
        if open_cells and any(value is not None and value != "" for value in values):
            open_cells = {column: one for column, one in open_cells.items() if one[0] >= row.number}
            values = _filled(values, open_cells)
        wide = []
        for cell in starting.pop(row.number, ()):
            if cell.last_row > cell.row and cell.column < len(values) and len(open_cells) < _MAX_OPEN:
                open_cells[cell.column] = (cell.last_row, values[cell.column])
            if cell.last_column > cell.column:
                wide.append((cell.column, cell.last_column))
        yield Row(row.number, values, tuple(wide), row.links)


def _filled(values: Iterable[object], cells: dict[int, tuple[int, object]]) -> list[object]:
    filled = list(values)
    for column, (_, value) in cells.items():
        filled += [None] * (column + 1 - len(filled))
        if filled[column] is None or filled[column] == "":
            filled[column] = value
    return filled
