"""What programs export under the extensions of workbooks, and Excel opens, is read as what it is."""

from io import BytesIO
from zipfile import ZipFile

import pytest

from streams.dify.errors import ExtractionError
from streams.dify.extraction import extract
from tests.support.documents.office_files import package, sheet_data, workbook

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
HEAD = "".join(f'<Cell><Data ss:Type="String">{name}</Data></Cell>' for name in ("City", "Days", "Air"))
XML = (
    '<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?>'
    '<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"'
    ' xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet" xmlns:html="http://www.w3.org/TR/REC-html40">'
    f'<Worksheet ss:Name="S1"><Table><Row>{HEAD}</Row>'
    '<Row ss:Index="3"><Cell><Data ss:Type="String">Oslo</Data></Cell>'
    '<Cell ss:Index="3"><ss:Data ss:Type="String"><html:B>c</html:B>old</ss:Data></Cell></Row><Row>'
    '<Cell ss:MergeAcross="1"><Data ss:Type="DateTime">2024-05-06T00:00:00.000</Data></Cell>'
    '<Cell><Data ss:Type="Number">3</Data></Cell></Row></Table></Worksheet></Workbook>'
)


@pytest.mark.requirement("Extraction", "XML spreadsheets, pages and delimited text under the extension xls are read")
def test_an_xml_spreadsheet_is_read_as_rows() -> None:
    parts = extract(XML.encode(), "xls", DOCUMENT).parts
    assert [(part.text, dict(part.place)) for part in parts] == [
        ('"City":"Oslo";"Air":"cold"', {"sheet": "S1", "row": 3}),
        ('"City":"2024-05-06";"Air":"3"', {"sheet": "S1", "row": 4}),
        ('"Days"', {"sheet": "S1", "row": 1}),
    ]


@pytest.mark.requirement("Extraction", "XML spreadsheets, pages and delimited text under the extension xls are read")
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"<meta charset=utf-8><table><tr><th>City<th>Days<tr><td>Oslo<td>2</table>", "City Days\n\nOslo 2"),
        (b"City\tDays\r\nOslo\t2\r\n", "City: Oslo;Days: 2"),
        ("\ufeffCity\tDays\nOslo\t2\n".encode("utf-16-le"), "City: Oslo;Days: 2"),
    ],
)
def test_a_page_or_a_text_is_read_as_what_it_is(content: bytes, text: str) -> None:
    assert extract(content, "xls", DOCUMENT).text == text


@pytest.mark.parametrize("content", [b"nonsense", bytes(range(1, 32)) * 9 + b"\t", b"\x09\x08\x10\x00\t"])
def test_what_is_nothing_of_all_that_is_refused(content: bytes) -> None:
    with pytest.raises(ExtractionError, match="damaged"):
        extract(content, "xls", DOCUMENT)


def test_a_workbook_with_backslashes_in_its_names_is_read() -> None:
    """Older libraries for .NET write them."""
    with ZipFile(BytesIO(workbook(sheet_data(("City", "Days"), ("Oslo", 2))))) as archive:
        content = package({name.replace("/", "\\"): archive.read(name) for name in archive.namelist()})
    assert extract(content, "xlsx", DOCUMENT).text == '"City":"Oslo";"Days":"2"'
