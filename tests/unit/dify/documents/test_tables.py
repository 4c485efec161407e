"""Tables (CSV, Excel) are read as a person reads them. The files are raw XML, records and text."""

import struct
from collections.abc import Callable
from functools import partial

import pytest

from streams.dify.extraction import extract
from streams.dify.extraction.tables.rows import column_letters
from tests.support.documents.growth import LINEAR, growth
from tests.support.documents.office_files import (
    DATE_STYLE,
    DURATION_STYLE,
    TIME_STYLE,
    relationships,
    sheet_data,
    workbook,
)
from tests.support.platform.document_files import xls

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
NUMBERS = tuple((f"n{number}", float(number)) for number in range(1, 51))


def _rows(content: bytes, extension: str) -> list[str]:
    return [part.text for part in extract(content, extension, DOCUMENT).parts]


@pytest.mark.requirement("Extraction", "all rows of a sheet are read, whatever range it declares")
@pytest.mark.parametrize("declared", ["A1", "A1:B10", "B3:B4", "A1:XFD1048576", ""])
def test_all_rows_are_read_whatever_the_sheet_declares(declared: str) -> None:
    """WPS and streaming exporters declare `A1`, others a range that is too small or too large."""
    dimension = f'<dimension ref="{declared}"/>' if declared else ""
    rows = _rows(workbook(dimension + sheet_data(("Name", "Count"), *NUMBERS)), "xlsx")
    assert rows == [f'"Name":"n{number}";"Count":"{number}"' for number in range(1, 51)]


@pytest.mark.requirement("Extraction", "a row of a table is a part, with its sheet and its number")
def test_a_row_is_a_part_with_its_place() -> None:
    first = sheet_data(("City", "Days"), ("Oslo", 2))
    second = sheet_data(("Name", "Age"), ("Ada", 36), first=4)
    parts = extract(workbook(first, second), "xlsx", DOCUMENT).parts
    assert [(part.text, part.place) for part in parts] == [
        ('"City":"Oslo";"Days":"2"', {"sheet": "S1", "row": 2}),
        ('"Name":"Ada";"Age":"36"', {"sheet": "S2", "row": 5}),
    ]
    parts = extract(b"City,Days\n\nOslo,2\n", "csv", DOCUMENT).parts
    assert [(part.text, part.place) for part in parts] == [("City: Oslo;Days: 2", {"row": 3})]
    parts = extract(xls(("City", "Days"), ("Oslo", "two")), "xls", DOCUMENT).parts
    assert [part.place["row"] for part in parts] == [2]


@pytest.mark.requirement("Extraction", "workbooks in Strict Open XML are read")
def test_a_strict_workbook_is_read() -> None:
    """It has other namespaces. Its values and merged cells are the same."""
    rows = (("City", "Days"), ("Oslo", 2), (None, 3))
    sheet = sheet_data(*rows) + '<mergeCells count="1"><mergeCell ref="A2:A3"/></mergeCells>'
    expected = ['"City":"Oslo";"Days":"2"', '"City":"Oslo";"Days":"3"']
    assert _rows(workbook(sheet), "xlsx") == expected
    assert _rows(workbook(sheet, strict=True), "xlsx") == expected


def test_a_workbook_with_damaged_styles_is_read() -> None:
    """The library refuses a fill that it does not know."""
    styles = (
        '<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><fills><fill><none/></fill>'
        "</fills><cellXfs><xf numFmtId='wrong'/></cellXfs></styleSheet>"
    )
    content = workbook(sheet_data((None, "City"), (None, "Oslo"), first=3), parts={"xl/styles.xml": styles})
    found = extract(content, "xlsx", DOCUMENT)
    assert [(part.text, part.place["row"]) for part in found.parts] == [('"City":"Oslo"', 4)]
    assert found.warnings == ("the styles or properties are damaged; dates may be shown as numbers",)


def test_a_workbook_with_damaged_names_is_read() -> None:
    """Names of ranges are no text."""
    names = '<definedNames><definedName name="x" localSheetId="wrong">A1</definedName></definedNames>'
    assert _rows(workbook(sheet_data(("City",), ("Oslo",)), links=names), "xlsx") == ['"City":"Oslo"']


@pytest.mark.requirement("Extraction", "a workbook with a broken link to another one is read")
def test_a_broken_external_link_does_not_matter() -> None:
    content = workbook(
        sheet_data(("City",), ("Oslo",)),
        links='<externalReferences><externalReference r:id="rIdX"/></externalReferences>',
        parts={
            "xl/_rels/workbook.xml.rels": relationships(
                ("rId1", "worksheet", "worksheets/sheet1.xml"), ("rIdX", "externalLink", "externalLinks/none.xml")
            )
        },
    )
    assert _rows(content, "xlsx") == ['"City":"Oslo"']


def test_a_date_out_of_range_gives_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    """The library would write a line for each such cell, past the format of the log."""
    row = f'<row r="2"><c r="A2" s="{DATE_STYLE}"><v>99999999</v></c><c r="B2"><v>1</v></c></row>'
    sheet = sheet_data(("When", "What")).replace("</sheetData>", f"{row}</sheetData>")
    assert '"What":"1"' in _rows(workbook(sheet), "xlsx")[0]
    assert recwarn.list == []


def test_escaped_characters_are_read() -> None:
    """Excel writes a carriage return, which XML would not keep, as `_x000D_`."""
    rows = _rows(workbook(sheet_data(("Note",), ("a_x000D_b",))), "xlsx")
    assert rows == ['"Note":"a\rb"']


def test_values_are_shown_as_a_reader_sees_them() -> None:
    """A time of day has no date, a date no time, a duration its hours; errors and last values of formulas stay."""
    cells = (
        f'<c r="A2" s="{TIME_STYLE}"><v>0.2736111111</v></c><c r="B2" s="{DATE_STYLE}"><v>45292</v></c>'
        f'<c r="C2" s="{DURATION_STYLE}"><v>1.5</v></c><c r="D2" t="b"><v>1</v></c><c r="E2" t="e"><v>#N/A</v></c>'
        '<c r="F2" t="str"><f>A1</f><v>last</v></c><c r="G2"><v>3</v></c><c r="H2"><v>0.5</v></c>'
    )
    head = sheet_data(("Time", "Date", "Hours", "Yes", "Error", "Formula", "Whole", "Half"))
    sheet = head.replace("</sheetData>", f'<row r="2">{cells}</row></sheetData>')
    assert _rows(workbook(sheet), "xlsx") == [
        (
            '"Time":"06:34:00";"Date":"2024-01-01";"Hours":"36:00:00";"Yes":"True";"Error":"#N/A";"Formula":"last";'
            '"Whole":"3";"Half":"0.5"'
        )
    ]


def _excel_2_number(row: int, column: int, value: float, form: int) -> tuple[int, bytes]:
    return 0x0003, struct.pack("<HHBBBd", row, column, 0, form, 0, value)


def test_a_time_of_day_in_an_old_workbook_has_no_date() -> None:
    """The oldest format numbers its formats in the order of their records: 0 is General, 1 is a time."""
    label = struct.pack("<HH3sB", 0, 0, bytes(3), 4) + b"Time"
    formats = [(0x001E, bytes([len(text)]) + text) for text in (b"General", b"h:mm")]
    records = [
        (0x0009, struct.pack("<HH", 2, 0x10)),
        *formats,
        (0x0004, label),
        _excel_2_number(1, 0, 0.2736111111, 1),
        _excel_2_number(2, 0, 0.5, 0),
        (0x000A, b""),
    ]
    content = b"".join(struct.pack("<HH", kind, len(body)) + body for kind, body in records)
    assert _rows(content, "xls") == ['"Time":"06:34:00"', '"Time":"0.5"']


@pytest.mark.requirement("Extraction", "a title above a table stays, and the table keeps its column names")
def test_a_title_row_is_not_the_head() -> None:
    table = (("Cities of the north",), (None,), ("City", "Days", "Notes"), ("Oslo", 2), ("Rome", 3))
    expected = ["Cities of the north", '"City":"Oslo";"Days":"2"', '"City":"Rome";"Days":"3"', '"Notes"']
    assert _rows(workbook(sheet_data(*table)), "xlsx") == expected
    text = b"Cities of the north\n\nCity,Days,Notes\nOslo,2,\nRome,3,\n"
    assert _rows(text, "csv") == ["Cities of the north", "City: Oslo;Days: 2", "City: Rome;Days: 3", "Notes"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((("Name",), ("Ada",), ("Bob",)), ['"Name":"Ada"', '"Name":"Bob"']),
        ((("Name",), ("Ada", 36), ("Bob", 41)), ['"Name":"Ada";"B":"36"', '"Name":"Bob";"B":"41"']),
        ((("Sum",), ("Net", "$5,000"), ("Tax", "$7")), ['"Sum":"Net";"B":"$5,000"', '"Sum":"Tax";"B":"$7"']),
        ((("Sales",), ("City", 2023, 2024), ("Oslo", 5, 7)), ["Sales", '"City":"Oslo";"2023":"5";"2024":"7"']),
        ((("City", "Days"),), ['"City";"Days"']),
        ((("Alone",),), ['"Alone"']),
    ],
)
def test_the_head_is_found(rows: tuple[tuple[str | float | None, ...], ...], expected: list[str]) -> None:
    """Amounts and numbers are no names, but years are."""
    assert _rows(workbook(sheet_data(*rows)), "xlsx") == expected


@pytest.mark.requirement("Extraction", "the value of a tall merged cell is in each of its rows")
def test_a_tall_merged_cell_counts_for_each_of_its_rows() -> None:
    sheet = sheet_data(("Region", "City"), ("North", "Oslo"), (None, "Bergen"), (None, None), ("South", "Rome"))
    sheet += '<mergeCells count="2"><mergeCell ref="A2:A4"/><mergeCell ref="A1:A1"/></mergeCells>'
    assert _rows(workbook(sheet), "xlsx") == [
        '"Region":"North";"City":"Oslo"',
        '"Region":"North";"City":"Bergen"',
        '"Region":"South";"City":"Rome"',
    ]


@pytest.mark.requirement("Extraction", "a wide merged cell of the head names each of its columns")
def test_a_wide_merged_cell_of_the_head_names_its_columns() -> None:
    sheet = sheet_data(("City", "Period", None, "Page", "Empty"), ("Oslo", "May", "June", 3), ("Rome", None, "July", 4))
    sheet += '<mergeCells><mergeCell ref="B1:C1"/><mergeCell ref="E1:G1"/><mergeCell ref="B2:C2"/></mergeCells>'
    assert _rows(workbook(sheet), "xlsx") == [
        '"City":"Oslo";"Period":"May";"Period":"June";"Page":"3"',
        '"City":"Rome";"Period":"July";"Page":"4"',
        '"Empty"',
    ]


def test_many_tall_cells_do_not_multiply_the_text() -> None:
    """A hundred of them beside each other are repeated, not thousands."""
    tall = "".join(f'<mergeCell ref="{letters}1:{letters}99"/>' for letters in map(column_letters, range(1, 301)))
    cells = "".join(f'<c r="{column_letters(number)}1"><v>{number}</v></c>' for number in range(1, 301))
    rows = f'<row r="1">{cells}</row>' + "".join(f'<row r="{n}"><c r="A{n}"><v>0</v></c></row>' for n in range(2, 9))
    parts = _rows(workbook(f"<sheetData>{rows}</sheetData><mergeCells>{tall}</mergeCells>"), "xlsx")
    assert {len(part.split(";")) for part in parts[:7]} == {100}


@pytest.mark.requirement("Extraction", "CSV: blank first lines, `sep=`, other separators")
@pytest.mark.parametrize(
    "content",
    [
        b"City,Days\nOslo,2\n",
        b"\n\n  \nCity,Days\nOslo,2\n",
        b"sep=;\nCity;Days\nOslo;2\n",
        b'"sep=|"\r\nCity|Days\r\nOslo|2\r\n',
        b"City\tDays\nOslo\t2\n",
        b'"City";"Days"\n"Oslo";"2"\n',
    ],
)
def test_the_separator_and_the_head_of_a_csv_file_are_found(content: bytes) -> None:
    assert _rows(content, "csv") == ["City: Oslo;Days: 2"]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b'City, Days\nOslo, "2, or 3"\n', ["City: Oslo;Days: 2, or 3"]),
        (b'City; "Days; hours"\nOslo; "2; 3"\n', ["City: Oslo;Days; hours: 2; 3"]),
        (b'City, Pipe\nOslo, "wide\nRome, 3" thick\n', ['City: Oslo;Pipe: "wide', 'City: Rome;Pipe: 3" thick']),
    ],
)
def test_a_blank_may_stand_before_a_quotation_mark(content: bytes, rows: list[str]) -> None:
    """A mark without its end would take the rest of the file into its cell."""
    assert _rows(content, "csv") == rows


def test_a_decimal_comma_is_no_separator() -> None:
    content = b"City;Height;Depth\nOslo;1,5;2,5\nRome;2,5;1,5\n"
    assert _rows(content, "csv")[0] == "City: Oslo;Height: 1,5;Depth: 2,5"


def test_an_xls_file_may_be_a_newer_workbook() -> None:
    assert _rows(workbook(sheet_data(("City",), ("Oslo",))), "xls") == ['"City":"Oslo"']


def test_a_strict_workbook_of_distant_cells_is_read() -> None:
    """It costs what its two cells cost, not what the range between them would cost."""
    sheet = (
        '<sheetData><row r="1"><c r="A1"><v>1</v></c></row><row r="900"><c r="XFD900"><v>2</v></c></row></sheetData>'
    )
    parts = extract(workbook(sheet, strict=True), "xlsx", DOCUMENT).parts
    assert [(part.text, part.place["row"]) for part in parts] == [('"XFD":"2"', 900), ('"1"', 1)]


def _wide_merges(size: int) -> bytes:
    rows = sheet_data(("a", "b", "c"), *(("x", "y", None) for _ in range(size)))
    merged = "".join(f'<mergeCell ref="C{n}:C{n + 1}"/>' for n in range(2, size, 2))
    return workbook(f"{rows}<mergeCells>{merged}</mergeCells>")


GROWING: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "xlsx": ("xlsx", lambda size: workbook(sheet_data(*(("x", "y", float(n)) for n in range(size))))),
    "xlsx with merged cells": ("xlsx", _wide_merges),
    "strict": ("xlsx", lambda size: workbook(sheet_data(*(("x", "y") for _ in range(size))), strict=True)),
    "xls": ("xls", lambda size: xls(*(("x", "y", "z") for _ in range(size)))),
    "csv": ("csv", lambda size: b"a;b;c\n" + b"x;y;z\n" * size),
    "csv of quotes": ("csv", lambda size: b'a;b\n"' * size),
}


@pytest.mark.requirement("Extraction", "no reader needs more than proportional time")
@pytest.mark.parametrize("name", GROWING)
def test_tables_are_read_in_proportional_time(name: str) -> None:
    """Four times the size needs four times the time; sixteen times would be quadratic."""
    extension, make = GROWING[name]
    small, large = make(500), make(2_000)
    extract(make(100), extension, DOCUMENT)
    assert growth(*(partial(extract, content, extension, DOCUMENT) for content in (small, large))) < LINEAR
