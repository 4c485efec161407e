"""Reads Excel workbooks since 2007 (xlsx, also in the strict format).

openpyxl reads row by row, so that a sheet costs what its cells cost, wherever they are. What it does not know or cannot
read, but the cells do not need, it does not get to see.
"""

import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import openpyxl
from openpyxl.utils.escape import unescape
from openpyxl.worksheet.worksheet import Worksheet

from streams.dify.errors import RefusedError
from streams.dify.extraction.bounds import CellBudget, within_length
from streams.dify.extraction.office.package import OfficePackage
from streams.dify.extraction.result import Extracted, Part
from streams.dify.extraction.tables.merged_cells import with_merged_cells
from streams.dify.extraction.tables.number_formats import formatted, is_special
from streams.dify.extraction.tables.rows import QUOTED_FORMAT, Row, row_parts
from streams.dify.extraction.tables.sheet_elements import sheet_elements

_STRICT = b"http://purl.oclc.org/ooxml/"
_TRANSITIONAL = (
    (
        b'"http://purl.oclc.org/ooxml/spreadsheetml/main"',
        b'"http://schemas.openxmlformats.org/spreadsheetml/2006/main"',
    ),
    (
        b'"http://purl.oclc.org/ooxml/officeDocument/relationships',
        b'"http://schemas.openxmlformats.org/officeDocument/2006/relationships',
    ),
)
"""The names of the strict format, and those of the usual one."""
_NOT_OF_CELLS = re.compile(
    r"(^|/)(styles|theme\d*|core|app|custom)\.xml$|/(theme|externalLinks|drawings)/", re.IGNORECASE
)
"""Parts without which the cells can be read. Only the dates need the styles: without them they are numbers."""
_DEFINED_NAMES = re.compile(rb"<(\w+:)?definedNames\b")
_PERCENT_IDS = frozenset({"9", "10"})
"""The built-in formats of percentages."""
_ESCAPE = "_x"
"""The beginning of a character that XML cannot hold, as ``_x000D_``."""


def xlsx_content(content: bytes) -> Extracted:
    """Return ``"column":"value";…``, one part per row, sheet after sheet. Raises ExtractionError.

    A formula gives its last stored value.
    """
    package = OfficePackage(content)
    main = package.read(package.main_part()) or b""
    if _STRICT in main or not package.has_usual_names():
        content = package.repacked(_transitional)
    try:
        return _read(content, package, with_formats=_has_special_formats(package))
    except (RefusedError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - it is raised again if the cells alone cannot be read either
        try:
            found = _read(package.repacked(_cells_only), package, with_formats=False)
        except Exception:  # noqa: BLE001 - the first error names the cause
            raise error from None
        damaged = "the styles or properties are damaged; dates may be shown as numbers"
        return replace(found, warnings=(damaged, *found.warnings))


def _read(content: bytes, package: OfficePackage, *, with_formats: bool) -> Extracted:
    without_result: list[int] = []
    # The library warns about missing styles, dates out of range and the like: raw lines, with places of the file.
    with warnings.catch_warnings(action="ignore"):
        parts = tuple(within_length(_parts(content, package, without_result, with_formats=with_formats)))
    count = sum(without_result)
    missing = f"{count:,} formulas have no stored result: open the file in a spreadsheet program, and save it"
    return Extracted(parts, warnings=(missing,) if count else ())


def _parts(content: bytes, package: OfficePackage, without_result: list[int], *, with_formats: bool) -> Iterator[Part]:
    # The values of linked workbooks are stored in the cells. The links themselves are often broken.
    book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=True, keep_links=False)
    cells = CellBudget()
    names = _sheet_parts(package)
    read_rows = _formatted_rows if with_formats else _plain_rows
    try:
        for sheet in book.worksheets:
            # The range that a sheet declares may be far larger than its cells, or smaller.
            sheet.reset_dimensions()
            name = names.get(sheet.title, "")
            elements = sheet_elements(package.chunks(name), package.addresses(name) if name else {})
            without_result.append(elements.without_result)
            rows = (
                Row(number, values, links=elements.links.get(number, {}))
                for number, values in enumerate(cells.within(read_rows(sheet)), start=1)
            )
            yield from row_parts(with_merged_cells(rows, elements.merged), QUOTED_FORMAT, {"sheet": sheet.title})
    finally:
        book.close()


def _plain_rows(sheet: Worksheet) -> Iterator[list[object]]:
    for row in sheet.iter_rows(values_only=True):
        yield [_unescaped(value) for value in row]


def _formatted_rows(sheet: Worksheet) -> Iterator[list[object]]:
    """Yield the rows with numbers as their formats show them. The library needs more time for cells than for values."""
    for row in sheet.iter_rows():
        yield [
            formatted(cell.value, cell.number_format)
            if isinstance(cell.value, int | float) and not isinstance(cell.value, bool)
            else _unescaped(cell.value)
            for cell in row
        ]


def _has_special_formats(package: OfficePackage) -> bool:
    """Return whether a style of the file has a format that changes what a number means."""
    for name in package.related(package.main_part(), "styles"):
        root = package.xml(name)
        if root is not None:
            used = {style.get("numFmtId") for styles in root.iter("{*}cellXfs") for style in styles}
            own = (form for form in root.iter("{*}numFmt") if form.get("numFmtId") in used)
            if used & _PERCENT_IDS or any(is_special(form.get("formatCode", "")) for form in own):
                return True
    return False


def _unescaped(value: object) -> object:
    return unescape(value) if isinstance(value, str) and _ESCAPE in value else value


def _transitional(_name: str, content: bytes) -> bytes:
    for strict, usual in _TRANSITIONAL:
        content = content.replace(strict, usual)
    return content


def _cells_only(name: str, content: bytes) -> bytes | None:
    if _NOT_OF_CELLS.search(name):
        return None
    content = _transitional(name, content)
    first = _DEFINED_NAMES.search(content) if name.endswith("workbook.xml") else None
    if first is None:
        return content
    last = content.rfind(b"definedNames>") + len(b"definedNames>")
    return content[: first.start()] + content[max(last, first.start()) :]


def _sheet_parts(package: OfficePackage) -> dict[str, str]:
    """Return the name of the part of each sheet by the sheet's name."""
    main = package.main_part()
    root = package.xml(main)
    related = package.relationships(main)
    found: dict[str, str] = {}
    for sheet in root.iter("{*}sheet") if root is not None else ():
        for name, value in sheet.attrib.items():
            if str(name).endswith("}id") and str(value) in related:
                found[sheet.get("name", "")] = related[str(value)].target
    return found
