"""Reads Excel workbooks since 2007 (xlsx, also in the strict form).

openpyxl reads row by row, so that a sheet costs what its cells cost, wherever they are. calamine lays out a sheet as a
rectangle, but reads what openpyxl refuses: strict workbooks, and workbooks whose styles or properties are out of order.
"""

import warnings
from collections.abc import Iterator, Sequence
from io import BytesIO

import openpyxl
import python_calamine

from streams.dify.errors import RefusedError
from streams.dify.extraction.bounds import CellBudget, within_length
from streams.dify.extraction.office.package import OfficePackage
from streams.dify.extraction.result import Extracted, Part
from streams.dify.extraction.tables.merged_cells import TallCell, tall_cells, with_tall_cells
from streams.dify.extraction.tables.rows import QUOTED_FORMAT, Row, row_parts
from streams.dify.extraction.tables.sheet_extent import check_extent


def xlsx_content(content: bytes) -> Extracted:
    """Return ``"column":"value";…``, one part per row, sheet after sheet. Raises ExtractionError.

    A formula gives its last stored value.
    """
    package = OfficePackage(content)
    try:
        parts = tuple(within_length(_parts_of_openpyxl(content, package)))
    except (RefusedError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - it is raised again if the other library cannot read the file either
        try:
            return Extracted(tuple(within_length(_parts_of_calamine(package))))
        except python_calamine.CalamineError:
            raise error from None
    return Extracted(parts or tuple(within_length(_parts_of_calamine(package))))


def _parts_of_openpyxl(content: bytes, package: OfficePackage) -> Iterator[Part]:
    # The values of linked workbooks are stored in the cells. The links themselves are often broken.
    with warnings.catch_warnings(action="ignore"):
        # It warns about missing default styles and the like: nothing that concerns the cells.
        book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=True, keep_links=False)
    cells = CellBudget()
    names = _sheet_parts(package)
    try:
        for sheet in book.worksheets:
            # The range that a sheet declares may be far larger than its cells, or smaller.
            sheet.reset_dimensions()
            values = cells.within(sheet.iter_rows(values_only=True))
            rows = (Row(number, row) for number, row in enumerate(values, start=1))
            tall = tall_cells(package.chunks(names.get(sheet.title, "")))
            yield from row_parts(with_tall_cells(rows, tall), QUOTED_FORMAT, {"sheet": sheet.title})
    finally:
        book.close()


def _parts_of_calamine(package: OfficePackage) -> Iterator[Part]:
    names = _sheet_parts(package)
    cells = CellBudget()
    # It gets a copy whose sizes are true, since it checks none.
    with python_calamine.CalamineWorkbook.from_filelike(BytesIO(package.repacked())) as book:
        for described in book.sheets_metadata:
            if described.typ == python_calamine.SheetTypeEnum.WorkSheet:
                check_extent(package.chunks(names.get(described.name, "")))
                sheet = book.get_sheet_by_name(described.name)
                rows = (
                    Row(number, row) for number, row in enumerate(cells.within(_rows_from_first_column(sheet)), start=1)
                )
                tall = (
                    TallCell(column, first + 1, last + 1)
                    for (first, column), (last, _) in sheet.merged_cell_ranges or ()
                    if last > first
                )
                yield from row_parts(with_tall_cells(rows, tall), QUOTED_FORMAT, {"sheet": described.name})


def _rows_from_first_column(sheet: python_calamine.CalamineSheet) -> Iterator[Sequence[object]]:
    """Yield all rows from the first one. Each has the columns from A on, which the library leaves out."""
    before: list[object] = [None] * (sheet.start or (0, 0))[1]
    for row in sheet.iter_rows():
        yield [*before, *row]


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
