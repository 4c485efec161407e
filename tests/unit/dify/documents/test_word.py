"""Word files are read with everything that is in their body. The files are raw XML."""

from collections.abc import Callable
from functools import partial

import pytest

from streams.dify.extraction import extract
from tests.support.documents.growth import LINEAR, growth
from tests.support.documents.word_files import (
    cell,
    field,
    flat_word_file,
    notes,
    paragraph,
    run,
    table,
    word_file,
)

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
BOX = "<w:txbxContent><w:p><w:r><w:t>In the box</w:t></w:r></w:p></w:txbxContent>"
FALLBACK = f"<mc:Fallback><w:pict><v:textbox>{BOX}</v:textbox></w:pict></mc:Fallback>"
LINK = "https://example.org/form"


def _text(content: bytes) -> str:
    return extract(content, "docx", DOCUMENT).text


@pytest.mark.requirement("Extraction", "Word: controls, insertions, moves, smart tags, fields, ruby; no deletions")
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (paragraph("<w:sdt><w:sdtPr/><w:sdtContent>" + run("Salary") + "</w:sdtContent></w:sdt>", ": 5"), "Salary: 5"),
        (f"<w:sdt><w:sdtContent>{paragraph('Whole')}{paragraph('body')}</w:sdtContent></w:sdt>", "Whole\nbody"),
        (paragraph("over the ", f"<w:ins>{run('lazy ')}</w:ins>", "dog"), "over the lazy dog"),
        (paragraph("a", "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del>", "b"), "ab"),
        (
            paragraph(f"<w:moveFrom>{run('moved')}</w:moveFrom>", "first")
            + paragraph("then ", f"<w:moveTo>{run('moved')}</w:moveTo>"),
            "first\nthen moved",
        ),
        (
            "<w:p><w:pPr><w:rPr><w:del/></w:rPr></w:pPr><w:r><w:t>one </w:t></w:r></w:p>" + paragraph("line"),
            "one line",
        ),
        (
            paragraph("the ", f"<w:smartTag><w:smartTag>{run('Center')}</w:smartTag></w:smartTag>", "?"),
            "the Center?",
        ),
        (paragraph(f'<w:customXml w:element="x">{run("custom")}</w:customXml>'), "custom"),
        (paragraph('<w:fldSimple w:instr=" DATE ">' + run("3 May") + "</w:fldSimple>"), "3 May"),
        (paragraph(field(" PAGE ", run("7"))), "7"),
        (
            paragraph("a", "<w:r><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t></w:r>"),
            "a\tb\nc-d",
        ),
        (
            paragraph(
                "<w:r><w:ruby><w:rt><w:r><w:t>とう</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>東</w:t></w:r></w:rubyBase></w:ruby>"
                "</w:r><w:r><w:ruby><w:rt><w:r><w:t>きょう</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>京</w:t></w:r></w:rubyBase>"
                "</w:ruby></w:r>",
                "へ",
            ),
            "東京(とうきょう)へ",
        ),
        (
            paragraph(
                "<m:oMath><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f></m:oMath>"
            ),
            "a/b",
        ),
    ],
)
def test_everything_in_the_body_is_read_once(body: str, text: str) -> None:
    assert _text(word_file(body)) == text


@pytest.mark.requirement("Extraction", "Word: the addresses of links and of HYPERLINK fields stay")
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (field(f' HYPERLINK "{LINK}" \\o "tip" ', run("the ") + run("form")), f"See [the form]({LINK})."),
        (field(f' HYPERLINK "{LINK}" \\l "part" ', run("it")), f"See [it]({LINK}#part)."),
        (field(f" hyperlink {LINK} ", run("it")), f"See [it]({LINK})."),
        (field(' HYPERLINK \\l "_Toc1" ', run("it")), "See it."),
        (f"<w:fldSimple w:instr=' HYPERLINK \"{LINK}\" '>{run('it')}</w:fldSimple>", f"See [it]({LINK})."),
        (f'<w:hyperlink r:id="rIdL" w:anchor="part">{run("it")}</w:hyperlink>', f"See [it]({LINK}#part)."),
        (f'<w:hyperlink w:anchor="_Toc1">{run("it")}{field(" PAGEREF _Toc1 ", run(" 3"))}</w:hyperlink>', "See it 3."),
        (
            f'<w:hyperlink r:id="rIdL">{field(f" HYPERLINK &quot;{LINK}&quot; ", run("it"))}</w:hyperlink>',
            f"See [it]({LINK}).",
        ),
    ],
)
def test_links_keep_their_addresses(content: str, text: str) -> None:
    """The code of a field comes in pieces. A link to a place of the document is its text."""
    assert _text(word_file(paragraph("See ", content, "."), ("rIdL", "hyperlink", LINK))) == text


def test_a_field_may_span_paragraphs_and_may_lack_its_end() -> None:
    """A table of contents is one field. A code without an end hides nothing of what follows."""
    begin, rest = field(f' HYPERLINK "{LINK}" ', run("one")).split(run("one"))
    body = f"<w:p>{begin}{run('one')}</w:p><w:p>{run('two')}{rest}{run(' three')}</w:p>"
    assert _text(word_file(body)) == f"[one]({LINK})\n[two]({LINK}) three"
    lost = '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText> IF </w:instrText></w:r>'
    assert _text(word_file(paragraph("a", lost) + paragraph("b"))) == "a\nb"


@pytest.mark.requirement("Extraction", "Word: a text box is read once")
@pytest.mark.parametrize(
    "box",
    [
        f"<mc:AlternateContent><mc:Choice><w:drawing>{BOX}</w:drawing></mc:Choice>{FALLBACK}</mc:AlternateContent>",
        f"<mc:AlternateContent><mc:Choice/>{FALLBACK}</mc:AlternateContent>",
        f"<w:pict><v:shape><v:textbox>{BOX}</v:textbox></v:shape></w:pict>",
    ],
)
def test_a_text_box_is_read_once(box: str) -> None:
    """Newer and older programs have a branch each. The box follows its paragraph."""
    assert _text(word_file(paragraph("before", f"<w:r>{box}</w:r>", " after"))) == "before after\nIn the box"


@pytest.mark.requirement("Extraction", "Word: footnotes and endnotes follow the paragraph that refers to them")
def test_notes_follow_their_paragraph() -> None:
    body = paragraph(
        "The fee", '<w:r><w:footnoteReference w:id="2"/></w:r>', " is due", '<w:r><w:endnoteReference w:id="2"/></w:r>'
    )
    content = word_file(
        body + paragraph("Next"),
        ("rIdF", "footnotes", "footnotes.xml"),
        ("rIdE", "endnotes", "endnotes.xml"),
        parts={
            "word/footnotes.xml": notes("footnote", {1: "unused", 2: "without tax"}),
            "word/endnotes.xml": notes("endnote", {2: "by law"}),
        },
    )
    assert _text(content) == "The fee[^1] is due[^2]\n[^1]: without tax\n[^2]: by law\nNext"


@pytest.mark.parametrize("strict", [True, False])
def test_the_strict_format_is_read(strict: bool) -> None:  # noqa: FBT001 - a parameter of the scenario
    body = paragraph("a", f'<w:hyperlink r:id="rIdL">{run("link")}</w:hyperlink>') + table(cell("x") + cell("y"))
    content = word_file(body, ("rIdL", "hyperlink", LINK), strict=strict)
    assert _text(content) == f"a[link]({LINK})\n| x | y |\n| --- | --- |"


def test_a_word_xml_document_is_read() -> None:
    assert _text(flat_word_file(paragraph("All in one"))) == "All in one"


@pytest.mark.requirement("Extraction", "Word: charts and diagrams give their texts")
def test_charts_and_diagrams_give_their_texts() -> None:
    body = paragraph('<w:r><w:drawing><c:chart r:id="rIdC"/></w:drawing></w:r>')
    body += paragraph('<w:r><w:drawing><dgm:relIds r:dm="rIdD"/></w:drawing></w:r>')
    names = 'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart"'
    texts = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    points = '<c:pt idx="0"><c:v>{}</c:v></c:pt><c:pt idx="1"><c:v>{}</c:v></c:pt>'
    chart = (
        f"<c:chart {names} {texts}><c:title><a:p><a:r><a:t>Sales</a:t></a:r></a:p></c:title>"
        "<c:ser><c:tx><c:v>Oslo</c:v></c:tx>"
        f"<c:cat>{points.format('May', 'June')}</c:cat><c:val>{points.format(5, 7)}</c:val></c:ser></c:chart>"
    )
    content = word_file(
        body,
        ("rIdC", "chart", "charts/chart1.xml"),
        ("rIdD", "diagramData", "diagrams/data1.xml"),
        parts={
            "word/charts/chart1.xml": chart,
            "word/diagrams/data1.xml": f"<x {texts}><a:p><a:r><a:t>Step one</a:t></a:r></a:p></x>",
        },
    )
    assert _text(content).split() == ["Sales", "Oslo:", "May", "5;", "June", "7", "Step", "one"]


def test_alternative_chunks_are_read_or_named() -> None:
    """A web page inside of the file is read. What cannot be read is a warning, and the rest stays."""
    body = '<w:altChunk r:id="rIdH"/><w:altChunk r:id="rIdX"/><w:altChunk r:id="rIdH"/>' + paragraph("End")
    content = word_file(
        body,
        ("rIdH", "aFChunk", "/chunk.htm"),
        ("rIdX", "aFChunk", "/chunk.rtf"),
        parts={"chunk.htm": "<p>From a page</p>", "chunk.rtf": "{\\rtf1}"},
    )
    found = extract(content, "docx", DOCUMENT)
    assert found.text == "From a page\nEnd"
    assert found.warnings == ("1 documents inside of the Word file (alternative chunks) are not read",)


SPAN_2 = '<w:gridSpan w:val="2"/>'
TALL, GOES_ON = '<w:vMerge w:val="restart"/>', "<w:vMerge/>"


@pytest.mark.requirement("Extraction", "Word: each row of a table has the cells of the grid")
@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        (
            (cell("A") + cell("B") + cell("C"), cell("D E", properties=SPAN_2) + cell("F")),
            ["| A | B | C |", "| --- | --- | --- |", "| D E |  | F |"],
        ),
        (
            (cell("North", properties=TALL) + cell("Oslo"), cell(properties=GOES_ON) + cell("Bergen")),
            ["| North | Oslo |", "| --- | --- |", "| North | Bergen |"],
        ),
        (
            (cell("a|b") + cell("c"), cell("d")),
            ["| a\\|b | c |", "| --- | --- |", "| d |  |"],
        ),
        (
            (cell("a") + cell("b"), '<w:trPr><w:gridBefore w:val="1"/></w:trPr>' + cell("c")),
            ["| a | b |", "| --- | --- |", "|  | c |"],
        ),
        (
            (cell("a") + f"<w:sdt><w:sdtContent>{cell('in a control')}</w:sdtContent></w:sdt>",),
            ["| a | in a control |", "| --- | --- |"],
        ),
        (
            (cell("a"), "<w:trPr><w:del/></w:trPr>" + cell("deleted")),
            ["| a |", "| --- |"],
        ),
        (
            (cell("out", table(cell("x|1") + cell("y"), cell("z")), "last") + cell("b"),),
            ["| out x\\|1, y; z last | b |", "| --- | --- |"],
        ),
    ],
)
def test_tables_are_laid_out_on_their_grid(rows: tuple[str, ...], lines: list[str]) -> None:
    assert _text(word_file(table(*rows))).split("\n") == lines


def test_a_table_that_cannot_be_laid_out_is_read_cell_by_cell() -> None:
    """A span of 60,000 columns in each of many rows would need many times the cells of the file."""
    rows = [cell("a", properties='<w:gridSpan w:val="60000"/>')] + [cell("b")] * 50
    assert _text(word_file(table(*rows))).split("\n") == ["a"] + ["b"] * 50


def test_tables_inside_of_tables_have_no_end() -> None:
    """Fifty tables inside of each other: no error, and all texts."""
    inner = paragraph("core")
    for level in range(50):
        inner = table(cell(f"t{level}", inner))
    text = _text(word_file(inner))
    assert "core" in text
    assert all(f"t{level}" in text for level in range(50))


BEGIN, SEPARATE, END = (f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "separate", "end"))
OPEN_LINK = f"{BEGIN}<w:r><w:instrText>HYPERLINK {LINK}</w:instrText></w:r>{SEPARATE}{run('x')}"
SIMPLE_LINK = f'<w:fldSimple w:instr=" HYPERLINK {LINK} ">{run("x")}</w:fldSimple>'
HEAD, BELOW = cell("x", properties=TALL) + cell("y"), cell(properties=GOES_ON) + cell("y")
GROWING: dict[str, Callable[[int], str]] = {
    "paragraphs": lambda size: paragraph("word " * 5) * size,
    "runs": lambda size: paragraph(*["word "] * size),
    "a tall merged cell": lambda size: table(HEAD, *[BELOW] * size),
    "a table": lambda size: table(*[cell("x") * 10] * (size // 10)),
    "fields without an end": lambda size: paragraph(BEGIN) * size,
    "links": lambda size: paragraph(SIMPLE_LINK * size),
    "fields in fields": lambda size: paragraph(OPEN_LINK * size, END * size),
    "boxes": lambda size: paragraph(f"<w:r><w:pict>{BOX}</w:pict></w:r>") * (size // 2),
    "alternatives in alternatives": lambda size: (
        "<mc:AlternateContent><mc:Choice>" * 80 + "<w:x/>" * (10 * size) + "</mc:Choice></mc:AlternateContent>" * 80
    ),
    "deleted ends": lambda size: "<w:p><w:pPr><w:rPr><w:del/></w:rPr></w:pPr><w:r><w:t>one </w:t></w:r></w:p>" * size,
}


@pytest.mark.requirement("Extraction", "no reader needs more than proportional time")
@pytest.mark.parametrize("name", GROWING)
def test_word_files_are_read_in_proportional_time(name: str) -> None:
    """Four times the size needs four times the time; sixteen times would be quadratic."""
    small, large = (word_file(GROWING[name](size) + paragraph("end")) for size in (1_000, 4_000))
    assert growth(*(partial(extract, content, "docx", DOCUMENT) for content in (small, large))) < LINEAR
