"""Reads Excel workbooks from before 2007 (xls)."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from io import StringIO

import xlrd

from streams.dify.errors import ExtractionError
from streams.dify.extraction.bounds import CellBudget, within_length
from streams.dify.extraction.result import Extracted, Part
from streams.dify.extraction.tables.delimited import csv_content
from streams.dify.extraction.tables.merged_cells import MergedCell, with_merged_cells
from streams.dify.extraction.tables.number_formats import formatted
from streams.dify.extraction.tables.rows import QUOTED_FORMAT, Row, row_parts
from streams.dify.extraction.tables.spreadsheet_xml import NAMESPACE, spreadsheet_xml_content
from streams.dify.extraction.tables.xlsx import xlsx_content
from streams.dify.extraction.web.page import html_text

_ARCHIVE = b"PK\x03\x04"
_HEAD = 2048
"""Bytes by which a file under another extension is known."""
_PAGE_MARKS = (b"<html", b"<table", b"<!doctype html")
_TEXT_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe")
"""Byte order marks. No workbook begins with one."""
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def xls_content(content: bytes) -> Extracted:
    """Return the same as `xlsx_content`, for the format before 2007. Raises ExtractionError."""
    if content.startswith(_ARCHIVE):
        # A newer workbook under the old extension: Excel opens it too.
        return xlsx_content(content)
    if (other := _of_another_type(content)) is not None:
        return other
    return Extracted(tuple(within_length(_parts(_opened(content)))))


def _of_another_type(content: bytes) -> Extracted | None:
    """Return the text of an XML spreadsheet, a page or delimited text; None: it is none of them.

    Many programs export them as xls, and Excel opens them.
    """
    if NAMESPACE.encode() in content[:_HEAD]:
        return spreadsheet_xml_content(content)
    if any(mark in content[:_HEAD].lower() for mark in _PAGE_MARKS):
        return Extracted((Part(html_text(content)),))
    if content.startswith(_TEXT_MARKS) or (b"\t" in content[:_HEAD] and not _BINARY.search(content[:_HEAD])):
        return csv_content(content)
    return None


def _opened(content: bytes) -> xlrd.Book:
    # Only the formats tell which cells are merged and which are durations. Where the formats are damaged, the cells can
    # still be read. The second reading reports any other error.
    with suppress(Exception):
        return _opened_with(content, formats=True)
    try:
        return _opened_with(content, formats=False)
    except xlrd.XLRDError as error:
        if "encrypted" in str(error):
            message = "the file is encrypted: save it without a password"
        else:
            message = f"the XLS file is damaged or of another type: {error}"
        raise ExtractionError(message) from error


def _opened_with(content: bytes, *, formats: bool) -> xlrd.Book:
    # Without `ragged_rows`, one cell in the last column makes all rows that long.
    return xlrd.open_workbook(file_contents=content, logfile=StringIO(), formatting_info=formats, ragged_rows=True)


def _parts(book: xlrd.Book) -> Iterator[Part]:
    cells = CellBudget()
    for sheet in book.sheets():
        values = ([_value(cell, book) for cell in sheet.row(number)] for number in range(sheet.nrows))
        links = _links(sheet)
        rows = (
            Row(number, row, links=links.get(number, {})) for number, row in enumerate(cells.within(values), start=1)
        )
        merged = (MergedCell(top + 1, bottom, left, right - 1) for top, bottom, left, right in sheet.merged_cells)
        yield from row_parts(with_merged_cells(rows, merged), QUOTED_FORMAT, {"sheet": sheet.name})


def _links(sheet: xlrd.sheet.Sheet) -> dict[int, dict[int, str]]:
    """Return the addresses that cells link to, by the row from 1 and the column from 0."""
    found: dict[int, dict[int, str]] = {}
    for link in sheet.hyperlink_list:
        if link.type == "url" and isinstance(link.url_or_path, str):
            address = link.url_or_path.strip("\x00 ")
            found.setdefault(link.frowx + 1, {})[link.fcolx] = (
                f"{address}#{link.textmark}" if link.textmark else address
            )
    return found


def _value(cell: xlrd.sheet.Cell, book: xlrd.Book) -> object:
    if cell.ctype == xlrd.XL_CELL_DATE:
        if _is_duration(cell, book):
            return timedelta(days=cell.value)
        moment = xlrd.xldate_as_datetime(cell.value, book.datemode)
        return moment.time() if 0 <= cell.value < 1 else moment
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return bool(cell.value)
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return xlrd.error_text_from_code.get(cell.value, "")
    if cell.ctype == xlrd.XL_CELL_NUMBER:
        return formatted(cell.value, _format(cell, book))
    return cell.value


def _is_duration(cell: xlrd.sheet.Cell, book: xlrd.Book) -> bool:
    """Return whether the cell counts hours beyond a day, as the format ``[h]:mm`` does."""
    return _format(cell, book).lstrip().lower().startswith(("[h", "[m", "[s"))


def _format(cell: xlrd.sheet.Cell, book: xlrd.Book) -> str:
    """Return the format of a cell; empty: the formats are damaged."""
    if cell.xf_index is None:
        return ""
    form = book.format_map.get(book.xf_list[cell.xf_index].format_key)
    return form.format_str if form is not None else ""
