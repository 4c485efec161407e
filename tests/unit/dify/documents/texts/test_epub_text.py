"""A book gives its chapters in reading order, each as a part, read as the XML that they are."""

import warnings
from functools import partial
from io import BytesIO
from zipfile import ZipFile

import pytest

from streams.dify.errors import ExtractionError
from streams.dify.extraction import extract
from tests.support.documents.growth import LINEAR, growth

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
XHTML = "application/xhtml+xml"
CONTAINER = """<?xml version="1.0"?>
<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
DOCTYPE = (
    '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" '
    '"http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd">'
)


def _book(*chapters: tuple[str | bytes, str], fallback: str = "") -> bytes:
    """Return a book of chapters, each with its media type."""
    items = "".join(
        f'<item id="c{number}" href="c%20{number}" media-type="{media_type}" {fallback if number == 0 else ""}/>'
        for number, (_, media_type) in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{number}"/>' for number in range(1 if fallback else len(chapters)))
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The &amp; Book</dc:title></metadata>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    target = BytesIO()
    with ZipFile(target, "w") as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OEBPS/book.opf", package)
        for number, (content, _) in enumerate(chapters):
            archive.writestr(f"OEBPS/c {number}", content)
    return target.getvalue()


def _page(body: str, head: str = "") -> str:
    return f'<html xmlns="http://www.w3.org/1999/xhtml"><head>{head}</head><body>{body}</body></html>'


@pytest.mark.requirement("Extraction", "each chapter of a book is a part")
def test_each_chapter_is_a_part() -> None:
    book = _book((_page("<p>One</p>"), XHTML), (_page("<img src='x'/>"), XHTML), (_page("<p>Two</p>"), XHTML))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = extract(book, "epub", DOCUMENT)
    assert [(part.text, dict(part.place)) for part in found.parts] == [
        ("The & Book\n\nOne", {"part": 1}),
        ("Two", {"part": 2}),
    ]


@pytest.mark.requirement("Extraction", "a chapter is read as the XML that it is")
@pytest.mark.parametrize(
    ("chapter", "text"),
    [
        (_page("<p>a<a id='x'/>b</p><div/>c", "<title/><script src='x'/>"), "ab\n\nc"),
        (DOCTYPE + _page("<p>a&nbsp;b &eacute;&amp;&lt;</p>"), "a b é&<"),
        (_page("<p>one<br/>two</p><p hidden=''>no</p><![CDATA[a < b]]>"), "one\ntwo\n\na < b"),
        (_page("<p>not closed<p>well &nosuch; formed"), "not closed\n\nwell &nosuch; formed"),
        ('<?xml version="1.0" encoding="windows-1251"?>' + _page("<p>да</p>"), "да"),
        (_page("<svg xmlns='http://www.w3.org/2000/svg'><text>drawn</text><style>x</style></svg>"), "drawn"),
        ("<!DOCTYPE x [<!ENTITY ab 'words'>]>" + _page("<p>text &ab; &nosuch;</p>"), "text words &nosuch;"),
        (_page("<div>" * 300 + "deep" + "</div>" * 300), "deep"),
    ],
)
def test_a_chapter_is_read_as_xml(chapter: str, text: str) -> None:
    codec = "cp1251" if "windows-1251" in chapter else "utf-8"
    assert extract(_book((chapter.encode(codec), XHTML)), "epub", DOCUMENT).text == f"The & Book\n\n{text}"


def test_a_drawn_chapter_has_text() -> None:
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"><title>Map</title><text>North</text><text>South</text></svg>'
    assert "Map\n\nNorth\n\nSouth" in extract(_book((drawing, "image/svg+xml")), "epub", DOCUMENT).text


def test_a_chapter_of_another_type_has_a_fallback() -> None:
    book = _book(("<own/>", "application/xml"), (_page("<p>Instead</p>"), XHTML), fallback='fallback="c1"')
    assert extract(book, "epub", DOCUMENT).text == "The & Book\n\nInstead"


def test_entities_cannot_multiply_the_text() -> None:
    bomb = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
        f"<!ENTITY a{number} '{f'&a{number - 1 or str()};' * 10}'>" for number in range(1, 12)
    )
    book = _book((bomb + "]>" + _page("<p>text &a11;</p>"), XHTML))
    assert len(extract(book, "epub", DOCUMENT).text) < 2_000


def _without(book: bytes, gone: str, name: str = "") -> bytes:
    """Return a book without one of its files, or with another name for it."""
    target = BytesIO()
    with ZipFile(BytesIO(book)) as archive, ZipFile(target, "w") as less:
        for one in archive.namelist():
            if one != gone or name:
                less.writestr(name if one == gone else one, archive.read(one))
    return target.getvalue()


@pytest.mark.requirement("Extraction", "a book with an absent or damaged chapter gives the others, with a warning")
@pytest.mark.parametrize("fault", ["absent", "damaged", "not listed"])
def test_a_broken_chapter_leaves_the_others(fault: str) -> None:
    book = _book((_page("<p>One</p>"), XHTML), (_page("<p>Two words</p>"), XHTML), (_page("<p>Three</p>"), XHTML))
    if fault == "absent":
        book = _without(book, "OEBPS/c 1")
    elif fault == "damaged":
        book = book.replace(b"Two words", b"Two w\x00rds")  # the checksum of the file does not fit
    else:
        book = book.replace(b'idref="c1"', b'idref="cX"')
        book = _book_with_checksums(book)
    found = extract(book, "epub", DOCUMENT)
    assert [part.text for part in found.parts] == ["The & Book\n\nOne", "Three"]
    assert found.warnings == ("1 of 3 chapters are absent or damaged",)


def _book_with_checksums(book: bytes) -> bytes:
    """Return a book whose package was changed, with its right checksum."""
    end = book.index(b"</package>") + len(b"</package>")
    package = book[book.rindex(b"<?xml", 0, end) : end]
    target = BytesIO()
    with ZipFile(BytesIO(book)) as archive, ZipFile(target, "w") as whole:
        for name in archive.namelist():
            whole.writestr(name, package if name.endswith(".opf") else archive.read(name))
    return target.getvalue()


@pytest.mark.parametrize("name", ["OEBPS/C 0", "oebps/c 0"])
def test_the_case_of_a_name_does_not_matter(name: str) -> None:
    assert extract(_without(_book((_page("One"), XHTML)), "OEBPS/c 0", name), "epub", DOCUMENT).text.endswith("One")


@pytest.mark.parametrize("part", ["META-INF/container.xml", "OEBPS/book.opf", "OEBPS/c 0"])
def test_a_book_without_one_of_its_files_is_refused(part: str) -> None:
    book = _without(_book((_page("x"), XHTML)), part)
    with pytest.raises(ExtractionError, match="not an EPUB that can be read"):
        extract(book, "epub", DOCUMENT)


@pytest.mark.requirement("Extraction", "the time to read a book is proportional to its size")
def test_four_times_the_chapter_needs_four_times_the_time() -> None:
    books = (_book((_page("<p>words &nbsp; and <b>more</b></p>" * size), XHTML)) for size in (10_000, 40_000))
    assert growth(*(partial(extract, book, "epub", DOCUMENT) for book in books)) < LINEAR
