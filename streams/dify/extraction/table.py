"""Reads tables (CSV, Excel). Each row repeats the column names, so that a segment is readable without the header."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from io import BytesIO, StringIO
from string import ascii_uppercase
from typing import TypeVar

import openpyxl
import xlrd

from streams.dify.errors import ExtractionError
from streams.dify.extraction.archive import open_archive
from streams.dify.extraction.bounds import CellBudget, within_characters
from streams.dify.extraction.plain import plain_text

T = TypeVar("T")
_MAX_FIELD = 10 * 1024 * 1024


def csv_text(content: bytes) -> str:
    """Return ``column: value;column: value``, with blank lines between rows. Raises ExtractionError."""
    text = plain_text(content)
    csv.field_size_limit(_MAX_FIELD)
    rows = csv.reader(StringIO(text), _dialect(text))
    try:
        head = next(rows, [])
        lines = (";".join(f"{name}: {value}" for name, value in _cells(head, row)) for row in rows)
        named = list(within_characters(lines))
    except csv.Error as error:
        message = f"the CSV file is damaged: {error}"
        raise ExtractionError(message) from error
    # A table with a header only is still text.
    return "\n\n".join(row for row in named if row) or ";".join(name.strip() for name in head if name.strip())


def _dialect(text: str) -> type[csv.Dialect]:
    first = text.split("\n", 1)[0]
    return max((_Commas, _Semicolons, _Tabs), key=lambda dialect: first.count(dialect.delimiter))


class _Commas(csv.excel):
    delimiter = ","


class _Semicolons(csv.excel):
    delimiter = ";"


class _Tabs(csv.excel):
    delimiter = "\t"


def xlsx_text(content: bytes) -> str:
    """Return ``"column":"value";…``, with blank lines between rows, sheet after sheet. Raises ExtractionError.

    A formula gives its last stored value.
    """
    with open_archive(content):
        book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=True)
    try:
        sheets = list(book.worksheets)
        for sheet in sheets:
            # The range that a sheet declares may be far larger than its cells, and each of its rows would be made.
            sheet.reset_dimensions()
        return _joined((sheet.iter_rows(values_only=True) for sheet in sheets), _shown)
    finally:
        book.close()


def xls_text(content: bytes) -> str:
    """Return the same as `xlsx_text`, for the format before 2007. Raises ExtractionError."""
    try:
        # Without `ragged_rows`, one cell in the last column makes all rows that long.
        book = xlrd.open_workbook(file_contents=content, logfile=StringIO(), on_demand=True, ragged_rows=True)
    except xlrd.XLRDError as error:
        if "encrypted" in str(error):
            message = "the file is encrypted: save it without a password"
        else:
            message = f"the XLS file is damaged or of another type: {error}"
        raise ExtractionError(message) from error
    sheets = ((sheet.row(number) for number in range(sheet.nrows)) for sheet in book.sheets())
    return _joined(sheets, lambda cell: _shown_cell(cell, book.datemode))


def _joined(sheets: Iterable[Iterable[Sequence[T]]], shown: Callable[[T], str]) -> str:
    """Return the rows of all sheets with blank lines between them. Raises ExtractionError beyond the limits."""
    cells = CellBudget()
    lines = (line for rows in sheets for line in _quoted([shown(cell) for cell in row] for row in cells.within(rows)))
    return "\n\n".join(within_characters(lines))


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def _shown_cell(cell: xlrd.sheet.Cell, datemode: int) -> str:
    if cell.ctype == xlrd.XL_CELL_DATE:
        return _shown(xlrd.xldate_as_datetime(cell.value, datemode))
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return str(bool(cell.value))
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return ""
    return _shown(cell.value)


def _quoted(rows: Iterator[list[str]]) -> Iterator[str]:
    """Format rows. The first row with content is the header. A table with a header only is still text."""
    filled = (row for row in rows if any(value.strip() for value in row))
    head = next(filled, [])
    row = None
    for row in filled:
        yield ";".join(f'"{name}":"{value}"' for name, value in _cells(head, row))
    if row is None and head:
        yield ";".join(f'"{name.strip()}"' for name in head if name.strip())


def column_letters(number: int) -> str:
    """Return the letters of a column: A, …, Z, AA, … Unlike those of Excel, the columns of a CSV file have no end."""
    letters = ""
    while number:
        number, letter = divmod(number - 1, len(ascii_uppercase))
        letters = ascii_uppercase[letter] + letters
    return letters


def _cells(head: list[str], row: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the filled cells with their column name, or the column letter if the header has no name."""
    for number, value in enumerate(row, start=1):
        if value.strip():
            name = head[number - 1].strip() if number <= len(head) else ""
            yield name or column_letters(number), value.strip()
