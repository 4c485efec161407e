"""Reads XML spreadsheets (SpreadsheetML of Excel 2003), which programs export under the extension xls."""

from collections.abc import Iterator

from lxml import etree

from streams.dify.extraction.bounds import CellBudget, within_length
from streams.dify.extraction.office.package import parse_xml
from streams.dify.extraction.result import Extracted, Part
from streams.dify.extraction.tables.rows import QUOTED_FORMAT, Row, row_parts

NAMESPACE = "urn:schemas-microsoft-com:office:spreadsheet"
_SS = f"{{{NAMESPACE}}}"
_MAX_COLUMN = 16_384
_MAX_DIGITS = 7


def spreadsheet_xml_content(content: bytes) -> Extracted:
    """Return the same as `xlsx_content`. Raises ExtractionError, and XMLSyntaxError if it is damaged."""
    return Extracted(tuple(within_length(_parts(parse_xml(content)))))


def _parts(root: etree._Element) -> Iterator[Part]:
    cells = CellBudget()
    for sheet in root.iter(f"{_SS}Worksheet"):
        numbered = list(_numbered(sheet.iter(f"{_SS}Row")))
        values = cells.within(_values(row) for _, row in numbered)
        rows = (Row(number, one) for (number, _), one in zip(numbered, values, strict=True))
        yield from row_parts(rows, QUOTED_FORMAT, {"sheet": sheet.get(f"{_SS}Name", "")})


def _values(row: etree._Element) -> list[str]:
    values: list[str] = []
    for column, cell in _numbered(row.iter(f"{_SS}Cell")):
        data = cell.find(f"{_SS}Data")
        if column <= _MAX_COLUMN:
            values += [""] * (column - len(values))
            values[column - 1] = _text(data) if data is not None else ""
            values += [""] * min(_number(cell.get(f"{_SS}MergeAcross")), _MAX_COLUMN - column)
    return values


def _numbered(elements: Iterator[etree._Element]) -> Iterator[tuple[int, etree._Element]]:
    """Yield rows or cells with their numbers, from 1. One that names its number leaves out those before it."""
    number = 0
    for element in elements:
        number = _number(element.get(f"{_SS}Index")) or number + 1
        yield number, element
        number += _number(element.get(f"{_SS}MergeAcross"))


def _text(data: etree._Element) -> str:
    """Return the text of a cell. A date has no midnight."""
    text = "".join(map(str, data.itertext())).strip()
    if data.get(f"{_SS}Type") == "DateTime":
        return text.removesuffix(".000").replace("T", " ").removesuffix(" 00:00:00")
    return text


def _number(value: str | None) -> int:
    return int(value) if value is not None and value.isdecimal() and len(value) <= _MAX_DIGITS else 0
