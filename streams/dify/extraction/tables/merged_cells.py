"""Finds the merged cells of a sheet, and repeats the value of a tall one in each of its rows."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streams.dify.extraction.tables.rows import Row

_MERGED = re.compile(
    rb"""<(?:\w+:)?mergeCell\b[^<>]*?\bref\s*=\s*["']([A-Z]{1,3})([0-9]{1,7}):[A-Z]{1,3}([0-9]{1,7})"""
)
_LONGEST = 4096
"""Bytes of an element that may lie across two pieces."""


class TallCell(NamedTuple):
    """A merged cell of more than one row."""

    column: int
    """The first column, from 0."""
    first: int
    """The first row, from 1."""
    last: int


def tall_cells(sheet: Iterable[bytes]) -> Iterator[TallCell]:
    """Yield the merged cells of more than one row of a sheet, given by its XML in pieces."""
    rest = b""
    for chunk in sheet:
        rest += chunk
        end = 0
        for found in _MERGED.finditer(rest):
            end = found.end()
            if int(found[3]) > int(found[2]):
                yield TallCell(_column(found[1]), int(found[2]), int(found[3]))
        rest = rest[max(end, len(rest) - _LONGEST) :]


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number - 1


def with_tall_cells(rows: Iterable[Row], cells: Iterable[TallCell]) -> Iterator[Row]:
    """Yield the rows. Each row below the first of a tall cell has its value too, as a reader sees it beside the row."""
    starting: dict[int, list[TallCell]] = {}
    for cell in cells:
        starting.setdefault(cell.first, []).append(cell)
    open_cells: dict[int, tuple[int, object]] = {}
    for row in rows:
        if open_cells and any(value is not None and value != "" for value in row.values):
            open_cells = {column: one for column, one in open_cells.items() if one[0] >= row.number}
            row = Row(row.number, _filled(row.values, open_cells))  # noqa: PLW2901 - the row with its tall cells
        for cell in starting.pop(row.number, ()):
            if cell.column < len(row.values):
                open_cells[cell.column] = (cell.last, row.values[cell.column])
        yield row


def _filled(values: Iterable[object], cells: dict[int, tuple[int, object]]) -> list[object]:
    filled = list(values)
    for column, (_, value) in cells.items():
        filled += [None] * (column + 1 - len(filled))
        if filled[column] is None or filled[column] == "":
            filled[column] = value
    return filled
