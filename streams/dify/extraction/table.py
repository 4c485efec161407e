"""Tables of data: each row says its columns' names, so that a segment can be read without its table's head."""

import csv
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO, StringIO

import openpyxl
import xlrd
from openpyxl.utils import get_column_letter

from streams.dify.errors import ExtractionError
from streams.dify.extraction.archive import open_archive
from streams.dify.extraction.plain import plain_text

_LONGEST_FIELD = 10 * 1024 * 1024


def csv_text(content: bytes) -> str:
    """``column: value;column: value``, a blank line between rows, as the platform does. Raises ExtractionError."""
    text = plain_text(content)
    csv.field_size_limit(_LONGEST_FIELD)
    rows = csv.reader(StringIO(text), _dialect(text))
    try:
        head = next(rows, [])
        named = [";".join(f"{name}: {value}" for name, value in _cells(head, row)) for row in rows]
    except csv.Error as error:
        message = f"the CSV file is damaged: {error}"
        raise ExtractionError(message) from error
    # A table of nothing but its head is still text.
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
    """``"column":"value";…``, a blank line between rows, sheet after sheet. Raises ExtractionError.

    Formulas give the values that were last stored with them.
    """
    with open_archive(content):
        book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=True)
    try:
        rows = [
            line
            for sheet in book.worksheets
            for line in _quoted([_shown(value) for value in row] for row in sheet.iter_rows(values_only=True))
        ]
    finally:
        book.close()
    return "\n\n".join(rows)


def xls_text(content: bytes) -> str:
    """Like `xlsx_text`, for the format before 2007. Raises ExtractionError."""
    try:
        book = xlrd.open_workbook(file_contents=content, logfile=StringIO(), on_demand=True)
    except xlrd.XLRDError as error:
        if "encrypted" in str(error):
            message = "the file is encrypted: save it without a password"
        else:
            message = f"the XLS file is damaged or of another type: {error}"
        raise ExtractionError(message) from error
    rows: list[str] = []
    for sheet in book.sheets():
        found = ([_shown_cell(cell, book.datemode) for cell in sheet.row(number)] for number in range(sheet.nrows))
        rows += _quoted(found)
    return "\n\n".join(rows)


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
    """The first row with content is the head; a table of nothing but its head is still text."""
    filled = (row for row in rows if any(value.strip() for value in row))
    head = next(filled, [])
    row = None
    for row in filled:
        yield ";".join(f'"{name}":"{value}"' for name, value in _cells(head, row))
    if row is None and head:
        yield ";".join(f'"{name.strip()}"' for name in head if name.strip())


def _cells(head: list[str], row: list[str]) -> Iterator[tuple[str, str]]:
    """Filled cells by the column's name, or its letter where the head names none."""
    for number, value in enumerate(row, start=1):
        if value.strip():
            name = head[number - 1].strip() if number <= len(head) else ""
            yield name or get_column_letter(number), value.strip()
