"""Word's fields without a stored result are read too: form fields, readings and fractions. The files are raw XML."""

import time

import pytest

from streams.dify.extraction import extract
from streams.dify.extraction.word.equation_fields import equation_text
from tests.support.documents.word_files import paragraph, run, word_file

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
READING = r'\* jc2 \* "Font:MS Mincho" \* hps10 \o\ad(\s\up 9(とうきょう),東京)'


def text_of(body: str) -> str:
    return extract(word_file(body), "docx", DOCUMENT).text


def form_field(code: str, data: str, result: str | None = None) -> str:
    """Return a field with its data, as the forms of Word 97 to 2003 have it; None: without a result."""
    stored = "" if result is None else f'<w:r><w:fldChar w:fldCharType="separate"/></w:r>{result}'
    return (
        f'<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:name w:val="x"/>{data}</w:ffData></w:fldChar></w:r>'
        f"<w:r><w:instrText> {code} </w:instrText></w:r>{stored}"
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )


LIST = '<w:ddList>%s<w:listEntry w:val="Red"/><w:listEntry w:val="Blue"/></w:ddList>'


@pytest.mark.requirement("Extraction", "Word: what form fields show is text: boxes, lists and typed values")
@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (form_field("FORMCHECKBOX", "<w:checkBox><w:default w:val='0'/><w:checked/></w:checkBox>"), "☒"),
        (form_field("FORMCHECKBOX", "<w:checkBox><w:default w:val='1'/></w:checkBox>", ""), "☒"),
        (form_field("FORMCHECKBOX", "<w:checkBox><w:checked w:val='0'/></w:checkBox>"), "☐"),
        (form_field("FORMDROPDOWN", LIST % '<w:result w:val="1"/>'), "Blue"),
        (form_field("FORMDROPDOWN", LIST % ""), "Red"),
        (form_field("FORMDROPDOWN", LIST % '<w:result w:val="7"/>'), ""),
        (form_field("FORMTEXT", "<w:textInput/>", run("Schmidt")), "Schmidt"),
        ('<w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r>', "☑"),
        ('<w:r><w:sym w:font="Wingdings" w:char="F0A8"/></w:r>', "☐"),
        ('<w:r><w:sym w:font="Symbol" w:char="F0B7"/></w:r>', ""),
    ],
)
def test_what_a_form_field_shows_is_text(field: str, shown: str) -> None:
    assert text_of(paragraph("a: ", field, " end")) == f"a: {shown} end"


@pytest.mark.requirement("Extraction", "Word: readings and fractions of EQ fields are text")
@pytest.mark.parametrize(
    ("code", "shown"),
    [
        (READING, "東京(とうきょう)"),
        (r"\f(1,2)", "1/2"),
        (r"\o\ac(○,1)", "○1"),
        (r"\r(3,x)", "3√x"),
        (r"\r(,x+1)", "√x+1"),
        (r"x\s\up8(2)", "x2"),
        (r"\b\bc\{(\a\al\co2(10,01))", "10 01"),
        (r"\x(\(a\))", "(a)"),
        (r"\l(A,B)", "A,B"),
        (r"\f(1,2", "1/2"),
    ],
)
def test_an_eq_field_shows_the_text_in_its_code(code: str, shown: str) -> None:
    field = (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
        f'<w:r><w:instrText xml:space="preserve"> EQ {code} </w:instrText></w:r>'
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    assert text_of(paragraph("in ", field, "!")) == f"in {shown}!"


def test_other_codes_show_nothing() -> None:
    assert equation_text(" DATE \\@ yyyy ") == ""


@pytest.mark.parametrize("code", [r"\o" + r"\al   " * 50_000, r"\f(" * 50_000, "\\" * 100_001, r"\* a " * 50_000])
def test_a_hostile_code_is_read_in_linear_time(code: str) -> None:
    started = time.process_time()
    equation_text(f"EQ {code}")
    assert time.process_time() - started < 2


@pytest.mark.requirement("Extraction", "Word: a page break within a paragraph separates words")
def test_a_page_break_ends_a_line() -> None:
    broken = paragraph("one", '<w:r><w:br w:type="page"/></w:r>', "two", '<w:r><w:br w:type="column"/></w:r>', "three")
    assert text_of(broken) == "one\ntwo\nthree"


@pytest.mark.requirement("Extraction", "Word: WordArt of older versions is text")
def test_word_art_is_a_line() -> None:
    art = '<w:r><w:pict><v:shape><v:textpath string="Big letters"/></v:shape></w:pict></w:r>'
    assert text_of(paragraph("Title", art) + paragraph("end")) == "Title\nBig letters\nend"


@pytest.mark.requirement("Extraction", "Word: a Word file that is inserted as an alternative chunk is read")
def test_a_word_file_inside_of_a_word_file_is_read() -> None:
    """Programs that merge reports insert them so. What is inside of the inner one is a warning."""
    picture = b"\x89PNG\r\n\x1a\n" + bytes(20)
    chunk = '<w:altChunk r:id="rIdC"/>'
    image = '<w:r><w:drawing><a:blip r:embed="rIdP"/></w:drawing></w:r>'
    inner = word_file(
        paragraph("Inner ", image) + chunk,
        ("rIdC", "aFChunk", "again.docx"),
        ("rIdP", "image", "media/p.png"),
        parts={"word/media/p.png": picture, "word/again.docx": word_file(paragraph("Deeper"))},
    )
    outer = word_file(
        paragraph("Outer") + chunk + chunk, ("rIdC", "aFChunk", "inner.docx"), parts={"word/inner.docx": inner}
    )
    found = extract(outer, "docx", DOCUMENT)
    (kept,) = found.images
    assert found.text == f"Outer\nInner {kept.link}"
    assert found.warnings == ("1 documents inside of the Word file (alternative chunks) are not read",)


@pytest.mark.requirement("Extraction", "Word: parentheses, roots and sums of equations are in the text")
def test_the_signs_of_an_equation_are_text() -> None:
    def part(name: str, *inner: str) -> str:
        return f"<m:{name}>{''.join(inner)}</m:{name}>"

    def letters(text: str) -> str:
        return part("e", part("r", part("t", text)))

    body = paragraph(
        part(
            "oMath",
            part("r", part("t", "f")),
            part("d", letters("x")),
            part("r", part("t", "=")),
            part("d", '<m:dPr><m:begChr m:val="["/><m:endChr m:val=""/></m:dPr>', letters("y")),
            part("nary", '<m:naryPr><m:chr m:val="∑"/></m:naryPr>', letters("i")),
            part("rad", letters("2")),
        )
    )
    assert text_of(body) == "f(x)=[y∑i√2"
