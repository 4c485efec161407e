"""The values of a PDF's form, and typed notes on its pages, are text. The files are written here byte by byte."""

import pytest

from benchmarks.pdf_bytes import FONT, Stream, page, pdf_bytes
from streams.dify.errors import ExtractionError
from streams.dify.extraction import Extracted, extract
from streams.dify.extraction.pdf.form_fields import MAX_ANNOTATIONS

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
TEXT = b"BT /F1 12 Tf 20 700 Td (Application) Tj ET"
FIELD = b"<</Type/Annot/Subtype/Widget/Rect[0 0 90 20]/F 4%s>>"
STATES = b"/AP<</N<</Yes 6 0 R/Off 6 0 R>>>>"


def form_pdf(*annotations: bytes, content: bytes = TEXT, more: bytes = b"") -> bytes:
    """Return a PDF of one page.

    Args:
        annotations: those of the page: fields of a form, unless they name a subtype.
        content: the content of the page.
        more: further entries of the catalogue.
    """
    first = 7
    numbers = b" ".join(b"%d 0 R" % number for number in range(first, first + len(annotations)))
    return pdf_bytes(
        [
            b"<</Type/Catalog/Pages 2 0 R%s/AcroForm<</Fields[%s]/XFA[(template) 6 0 R]>>>>" % (more, numbers),
            b"<</Type/Pages/Kids[4 0 R]/Count 1>>",
            FONT,
            page(5).removesuffix(b">>") + b"/Annots[%s]>>" % numbers,
            Stream(content),
            Stream(b"", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]"),
            *(FIELD % one if b"/Subtype" not in one else one for one in annotations),
        ]
    )


def read(content: bytes) -> Extracted:
    return extract(content, "pdf", DOCUMENT)


VALUES = [
    (b"/FT/Tx/T(surname)/V(Schmidt)", "surname: Schmidt"),
    (b"/FT/Tx/T(form[0].page[0].town[0])/V<FEFF004B00F6006C006E>", "town: Köln"),
    (b"/FT/Tx/T(f1)/TU(Date of birth)/V(1. 2. 1990)", "Date of birth: 1. 2. 1990"),
    (b"/FT/Tx/Ff 4096/T(remarks)/V(two\\rlines)", "remarks: two\nlines"),
    (b"/FT/Btn/T(agreed)/V/Yes/AS/Yes" + STATES, "agreed: Yes"),
    (b"/FT/Ch/Ff 131072/T(colour)/V(r)/Opt[[(r)(Red)][(b)(Blue)]]", "colour: Red"),
    (b"/FT/Ch/T(size)/V(L)/Opt[(S)(L)]", "size: L"),
]
UNSEEN = [
    b"/FT/Tx/T(empty)",
    b"/FT/Btn/T(no)/V/Off/AS/Off" + STATES,
    b"/FT/Btn/Ff 65536/T(Send)/MK<</CA(Send)>>",
    b"/FT/Tx/Ff 8192/T(password)/V(secret)",
    b"<</Type/Annot/Subtype/Widget/Rect[0 0 90 20]/F 2/FT/Tx/T(hidden)/V(for programs)>>",
    b"/FT/Sig/T(signature)",
]


@pytest.mark.requirement("Extraction", "what a form of a PDF is filled with follows the text of its page")
@pytest.mark.parametrize(("field", "line"), VALUES)
def test_a_value_of_a_form_is_text(field: bytes, line: str) -> None:
    found = read(form_pdf(field))
    assert [part.text for part in found.parts] == [f"Application\n{line}"]
    assert found.warnings == ()


@pytest.mark.requirement("Extraction", "what a form of a PDF is filled with follows the text of its page")
def test_a_form_on_a_picture_has_the_text_of_its_values() -> None:
    """The page of a filled scan has no text of its own."""
    assert read(form_pdf(b"/FT/Tx/T(name)/V(Ann)", content=b"")).text == "name: Ann"


@pytest.mark.parametrize("field", UNSEEN)
def test_a_field_that_shows_nothing_gives_no_line(field: bytes) -> None:
    assert read(form_pdf(field)).text == "Application"


@pytest.mark.requirement("Extraction", "a typed note on a page of a PDF is text")
def test_a_typed_note_is_text() -> None:
    note = b"<</Type/Annot/Subtype/FreeText/Rect[0 0 90 20]/F 4/DA(/F1 9 Tf)/Contents(Please check)>>"
    comment = b"<</Type/Annot/Subtype/Text/Rect[0 0 9 9]/Contents(a comment beside the page)>>"
    assert read(form_pdf(note, comment)).text == "Application\nPlease check"


def test_the_pages_of_an_xfa_form_are_a_warning() -> None:
    """Such a file has one page for other programs: that Acrobat is needed."""
    found = read(form_pdf(more=b"/NeedsRendering true"))
    assert found.text == "Application"
    assert found.warnings == ("the PDF is an XFA form: what its pages show in Acrobat is not read",)


def test_a_form_without_values_is_no_text() -> None:
    with pytest.raises(ExtractionError, match="the PDF contains no text"):
        read(form_pdf(b"/FT/Tx/T(name)", content=b""))


def test_a_page_with_too_many_fields_is_read_without_them() -> None:
    """PDFium's time would grow with the square of their number."""
    found = read(form_pdf(*(b"/FT/Tx/T(f%d)/V(x)" % one for one in range(MAX_ANNOTATIONS + 1))))
    assert found.text == "Application"
    assert found.warnings == ("the form has too many fields: those of some pages are not read",)
