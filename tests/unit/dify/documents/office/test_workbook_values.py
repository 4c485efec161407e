"""Cells are what a person sees in them: formatted numbers, links, results of formulas. The files are raw XML."""

import pytest

from streams.dify.extraction import Extracted, extract
from streams.dify.extraction.completeness.check import found_share, missing_text_warning
from streams.dify.extraction.result import Part
from streams.dify.extraction.tables.number_formats import formatted, is_special
from streams.dify.extraction.tables.values import shown
from tests.support.documents.office_files import relationships, sheet_data, workbook

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKED = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'


def read(content: bytes) -> Extracted:
    return extract(content, "xlsx", DOCUMENT)


def styles(*forms: str) -> dict[str, str | bytes]:
    """Return the part of styles, one for each format of numbers after the general one."""
    own = "".join(f'<numFmt numFmtId="{170 + n}" formatCode="{form}"/>' for n, form in enumerate(forms))
    used = "".join(f'<xf numFmtId="{170 + n}" applyNumberFormat="1"/>' for n in range(len(forms)))
    return {
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><numFmts count="{len(forms)}">{own}</numFmts>'
        '<fonts count="1"><font/></fonts><fills count="1"><fill><patternFill/></fill></fills>'
        '<borders count="1"><border/></borders>'
        f'<cellStyleXfs count="1"><xf numFmtId="0"/></cellStyleXfs><cellXfs><xf numFmtId="0"/>{used}</cellXfs>'
        "</styleSheet>"
    }


@pytest.mark.requirement("Extraction", "percentages and codes with zeros are as a person sees them")
def test_numbers_are_shown_as_their_formats_show_them() -> None:
    sheet = sheet_data(("Rate", "Code", "Plain")) + ""
    row = '<row r="2"><c r="A2" s="1"><v>0.125</v></c><c r="B2" s="2"><v>501</v></c><c r="C2"><v>0.125</v></c></row>'
    sheet = sheet.replace("</sheetData>", f"{row}</sheetData>")
    found = read(workbook(sheet, parts=styles("0.0%", "00000")))
    assert (found.text, found.warnings) == ('"Rate":"12.5%";"Code":"00501";"Plain":"0.125"', ())


def test_cells_are_read_where_the_formats_are_damaged() -> None:
    sheet = sheet_data(("Rate",)).replace(
        "</sheetData>", '<row r="2"><c r="A2" s="1"><v>0.125</v></c></row></sheetData>'
    )
    damaged = {name: str(part).replace("<patternFill/>", "") for name, part in styles("0.0%").items()}
    found = read(workbook(sheet, parts=damaged))
    assert found.text == '"Rate":"0.125"'
    assert found.warnings == ("the styles or properties are damaged; dates may be shown as numbers",)


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.025, "0%", "3%"),
        (-0.5, "0.0%;[Red]-0.0%", "-50.0%"),
        (0.5, "#,##0.00 %", "50.00%"),
        (123456789, "000\\-00\\-0000", "123-45-6789"),
        (123456, "00000", "123456"),
        (7, "0", "7"),
        (7, "0.00", "7"),
        (1.5, "000", "1.5"),
        (5, '0"%"', "5"),
        (1e300, "0%", "1e+300"),
        (12, "General", "12"),
    ],
)
def test_a_format_changes_only_what_a_number_means(value: float, form: str, text: str) -> None:
    assert str(formatted(value, form)) == text
    assert is_special(form) or str(value) == text


def test_a_number_has_the_digits_of_a_spreadsheet() -> None:
    assert [shown(value) for value in (0.1 + 0.2, 1234.5, 3.0, float("nan"))] == ["0.3", "1234.5", "3", "nan"]


@pytest.mark.requirement("Extraction", "links of cells are Markdown links, as on the platform")
def test_links_of_cells_have_their_addresses() -> None:
    rows = sheet_data(("Name", "Site"), ("a", "Our site"), ("b", "me@a.org"), ("c", "Place"), ("d", "Not linked"))
    formula = '<row r="6"><c r="B6" t="str"><f>HYPERLINK("https://a.org/?x=1&amp;y=2","Form")</f><v>Form</v></c></row>'
    links = (
        f'<hyperlinks {LINKED}><hyperlink ref="B2" r:id="one" location="top"/><hyperlink r:id="two" ref="B3:C3"/>'
        '<hyperlink ref="B4" location="S1!A1"/><hyperlink ref="A1" r:id="one"/></hyperlinks>'
    )
    related = relationships(("one", "hyperlink", "https://a.org/x"), ("two", "hyperlink", "mailto://me@a.org"))
    found = read(
        workbook(
            rows.replace("</sheetData>", f"{formula}</sheetData>") + links,
            parts={"xl/worksheets/_rels/sheet1.xml.rels": related.replace("mailto://", "mailto:")},
        )
    )
    assert [part.text for part in found.parts] == [
        '"Name":"a";"Site":"[Our site](https://a.org/x#top)"',
        '"Name":"b";"Site":"me@a.org"',
        '"Name":"c";"Site":"Place"',
        '"Name":"d";"Site":"Not linked"',
        '"Site":"[Form](https://a.org/?x=1&y=2)"',
    ]


@pytest.mark.requirement("Extraction", "formulas without a stored result are a warning")
def test_formulas_without_a_result_are_a_warning() -> None:
    """Programs that are no spreadsheets write them. A stored result may be an empty text."""
    cells = (
        '<c r="A2"><f>SUM(1,2)</f></c><c r="B2"><f t="shared" si="0"/></c><c r="C2" t="str"><f>""</f><v></v></c>'
        '<c r="D2"><f>1+1</f><v>2</v></c>'
    )
    sheet = sheet_data(("a", "b", "c", "d")).replace("</sheetData>", f'<row r="2">{cells}</row></sheetData>')
    found = read(workbook(sheet))
    assert found.parts[0].text == '"d":"2"'
    assert found.warnings == ("2 formulas have no stored result: open the file in a spreadsheet program, and save it",)


@pytest.mark.requirement("Extraction", "numbers of cells count in the check that a text is whole")
def test_rows_of_numbers_that_are_missing_are_a_warning() -> None:
    rows = [(100.25 + number, 5_000 + number) for number in range(100)]
    content = workbook(sheet_data(*rows), parts=styles("#,##0.00"))
    whole = [Part(f"{one} {other}") for one, other in rows]
    assert missing_text_warning(content, "xlsx", whole) is None
    assert missing_text_warning(content, "xlsx", whole[:50]) is not None


def test_numbers_count_only_where_a_reader_shows_them_as_they_are() -> None:
    """Dates, percentages and codes have other digits in a text."""
    forms = ("yyyy\\-mm", "0.0%", "00000", "#,##0.0", "[h]:mm", "General&quot; d&quot;")
    cells = "".join(f'<c s="{n}"><v>{n}777.0</v></c>' for n in range(len(forms) + 1))
    content = workbook(f"<sheetData><row>{cells}</row></sheetData>", parts=styles(*forms))
    assert found_share(content, "xlsx", [Part("777 4777")]) == (3, 2)
    assert found_share(content, "xlsx", [Part("777 4777 6777")]) == (3, 3)
