"""Turns the rows of a table into parts. Each row repeats the column names, so that it is readable without the head."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import chain
from string import ascii_uppercase
from typing import NamedTuple

from streams.dify.extraction.result import Part
from streams.dify.extraction.tables.values import shown

_TITLE_ROWS = 10
"""Up to so many rows of one cell above a head are titles. A longer list is a table of one column."""
_MAX_COLUMNS = 16_384
"""The columns of the largest sheet."""
_YEARS = range(1900, 2101)


class Row(NamedTuple):
    """A row of a table."""

    number: int
    """As spreadsheets count, from 1."""
    values: Sequence[object]
    wide: tuple[tuple[int, int], ...] = ()
    """The first and the last column, from 0, of each of its cells that has several columns."""
    links: Mapping[int, str] = {}
    """The addresses that its cells link to, by their columns."""

    def text(self, column: int) -> str:
        """Return the text of a cell, as a Markdown link if it has an address that its text does not say."""
        text = shown(self.values[column])
        address = self.links.get(column)
        is_said = not address or text in {address, address.removeprefix("mailto:")}
        return f"[{text}]({address})" if text and not is_said else text


class RowFormat(NamedTuple):
    """How a row and a line of names are written."""

    cell: Callable[[str, str], str]
    name: Callable[[str], str]


COLON_FORMAT = RowFormat(lambda name, value: f"{name}: {value}", lambda name: name)
"""``column: value;column: value``, as the platform writes CSV files."""
QUOTED_FORMAT = RowFormat(lambda name, value: f'"{name}":"{value}"', lambda name: f'"{name}"')
"""``"column":"value";"column":"value"``, as the platform writes workbooks."""


def row_parts(rows: Iterable[Row], form: RowFormat, place: Mapping[str, str] | None = None) -> Iterator[Part]:
    """Yield one part per row that has content.

    Rows of one cell above the head are titles, each a part as it is. A name of the head that no row repeats comes in
    a part of names, after the rows: nothing of the table is lost, and a table with a head only is still text.

    Args:
        rows: the rows in order.
        form: how a row is written.
        place: what the place of each part has besides its row.
    """
    filled = (row for row in rows if any(shown(value) for value in row.values))
    titles, head, others = _head_of(filled)
    place = place or {}
    for row in titles:
        yield Part("".join(map(row.text, range(len(row.values)))), {**place, "row": row.number})
    if head is None:
        return
    names, owners = _names(head)
    unused = {column for column, value in enumerate(head.values) if shown(value)}
    for row in others:
        cells = []
        for column in range(len(row.values)):
            text = row.text(column)
            if text:
                name = names[column] if column < len(names) else ""
                cells.append(form.cell(name or column_letters(column + 1), text))
                unused.discard(owners.get(column, column))
        yield Part(";".join(cells), {**place, "row": row.number})
    if unused:
        line = ";".join(form.name(head.text(column)) for column in sorted(unused))
        yield Part(line, {**place, "row": head.number})


def _names(head: Row) -> tuple[list[str], dict[int, int]]:
    """Return the names of the columns, and the column of the wide cell that names each of several columns."""
    names = [shown(value) for value in head.values]
    owners: dict[int, int] = {}
    beyond = 0
    for first, last in sorted(head.wide):
        for column in range(max(first + 1, beyond), min(last, _MAX_COLUMNS) + 1):
            names += [""] * (column + 1 - len(names))
            if first < len(names) and not names[column]:
                names[column], owners[column] = names[first], first
        beyond = max(beyond, last + 1)
    return names, owners


def _head_of(rows: Iterator[Row]) -> tuple[list[Row], Row | None, Iterator[Row]]:
    """Return the title rows above the head, the head, and the rows below it."""
    first: list[Row] = []
    for row in rows:
        first.append(row)
        cells = [value for value in row.values if shown(value)]
        if len(cells) > 1:
            if all(map(_may_name, cells)):
                return first[:-1], row, rows
            break
        if len(first) > _TITLE_ROWS:
            break
    return [], first[0] if first else None, chain(first[1:], rows)


def _may_name(value: object) -> bool:
    """Return whether a cell may name a column: a text with letters, a date, or a year. An amount names none."""
    text = shown(value)
    if isinstance(value, bool):
        return False
    return isinstance(value, date) or any(map(str.isalpha, text)) or (text.isdecimal() and int(text[:9]) in _YEARS)


def column_letters(number: int) -> str:
    """Return the letters of a column: A, …, Z, AA, … Unlike those of Excel, the columns of a CSV file have no end."""
    letters = ""
    while number:
        number, letter = divmod(number - 1, len(ascii_uppercase))
        letters = ascii_uppercase[letter] + letters
    return letters
