"""A file cannot cost more than its size allows: hostile files of some kB are read in time, or rejected."""

import io
import time
import zipfile
from collections.abc import Callable

import openpyxl
import pytest

from benchmarks.pdf_bytes import FONT, Stream, page, pdf_bytes
from streams.dify.errors import ExtractionError, RefusedError
from streams.dify.extraction import bounds, extract
from streams.dify.extraction.result import IMAGE_TYPES, image_extension, image_of
from streams.dify.extraction.tables.rows import column_letters
from streams.dify.indexing.prepare import Prepared, PreparedImage, checked_images, reading_seconds
from streams.dify.splitting import piece
from streams.dify.splitting.piece import contents_of
from streams.dify.splitting.rules import Segmentation
from tests.support.platform.document_files import epub, png, word

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
SECONDS = 30.0
"""Far more than these files need, on a busy machine; without their limits each needs minutes or hours."""


def _sparse_xlsx() -> bytes:
    """Return a workbook that declares all cells of Excel's largest sheet, and has two."""
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet["A1"], sheet["A1048576"] = "head", "last"
    target = io.BytesIO()
    book.save(target)
    return _replaced(target.getvalue(), "xl/worksheets/sheet1.xml", b'ref="A1:A1048576"', b'ref="A1:XFD1048576"')


def _replaced(archive: bytes, name: str, before: bytes, after: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for entry in source.namelist():
            content = source.read(entry)
            if entry == name:
                assert before in content
                content = content.replace(before, after)
            made.writestr(entry, content)
    return target.getvalue()


def _repeated_epub() -> bytes:
    """Return a book whose spine names a chapter 2,000 times. The chapters have many empty paragraphs."""
    book = epub()
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        package = next(name for name in archive.namelist() if name.endswith(".opf"))
        chapters = [name for name in archive.namelist() if name.endswith("html")]
        spine = archive.read(package)
        contents = [archive.read(name) for name in chapters]
    start = spine.index(b"<itemref")
    one = spine[start : spine.index(b">", start) + 1]
    book = _replaced(book, package, one, one * 2_000)
    for name, content in zip(chapters, contents, strict=True):
        book = _replaced(book, name, content, content + b"<p></p>" * 5_000)
    return book


def _repeated_pdf() -> bytes:
    """Return a PDF whose page tree names its page 2,000 times."""
    tree = b"<</Type/Pages/Kids[%s]/Count 2000>>" % (b"4 0 R " * 2_000)
    content = Stream(b"BT /F1 12 Tf 20 200 Td (%s) Tj ET" % (b"words " * 4_000))
    return pdf_bytes([b"<</Type/Catalog/Pages 2 0 R>>", tree, FONT, page(5), content])


HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "declared range": ("xlsx", _sparse_xlsx, '"head":"last"'),
    "repeated chapter": ("epub", _repeated_epub, "Second chapter"),
    "repeated page": ("pdf", _repeated_pdf, "words"),
    "nested tags": ("html", lambda: b"<b>x" * 16_000, "x"),
    "sibling blocks": ("html", lambda: b"<p>x</p>" * 16_000, "x"),
    "nested pre": ("html", lambda: b"<pre>x" * 8_000, "x"),
    "comments without an end": ("html", lambda: b"words" + b"<!--" * 60_000, "words"),
    "tags without an end": ("html", lambda: b"words" + b"<?" * 60_000, "words"),
    "a header of 20,000 addresses": (
        "eml",
        lambda: b"From: a@b.c\nTo: " + b"x@y.z, " * 20_000 + b"\n\nBody",
        "Body",
    ),
    "a subject of 20,000 encoded words": (
        "eml",
        lambda: b"From: a@b.c\nSubject: " + b"=?utf-8?q?w?= " * 20_000 + b"\n\nBody",
        "Body",
    ),
    "a content type of 20,000 parameters": (
        "eml",
        lambda: (
            b"From: a@b.c\nContent-Type: text/plain; " + b"; ".join(b"p%d=v" % n for n in range(20_000)) + b"\n\nBody"
        ),
        "Body",
    ),
}


@pytest.mark.requirement("Faults of others", "H4: files of a few kB do not hold the compute processes")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_read_in_time(name: str) -> None:
    """Each is read in time proportional to its size, and its text is that of a reader."""
    extension, make, expected = HOSTILE[name]
    content = make()
    started = time.process_time()

    assert expected in extract(content, extension, DOCUMENT).text

    assert time.process_time() - started < SECONDS


@pytest.mark.requirement("Faults of others", "H4: files of a few kB do not hold the compute processes")
def test_the_cells_of_a_workbook_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are wide and empty, but for their last cell, count with all of their cells."""
    monkeypatch.setattr(bounds, "MAX_CELLS", 1_000)
    book = openpyxl.Workbook()
    for row in range(1, 12):
        book.worksheets[0].cell(row, 100, "x")
    target = io.BytesIO()
    book.save(target)
    with pytest.raises(ExtractionError, match="more than 1,000 cells"):
        extract(target.getvalue(), "xlsx", DOCUMENT)


@pytest.mark.requirement("Faults of others", "H4: files of a few kB do not hold the compute processes")
@pytest.mark.parametrize(
    ("extension", "content"),
    [
        ("csv", ("a" * 90 + "\n" + "1\n" * 10).encode()),
        ("txt", b"x" * 600),
        ("html", b"<p>words</p>" * 100),
        ("docx", word(paragraphs=("x" * 600,))),
    ],
)
def test_the_text_of_a_file_is_bounded(extension: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long column name that each row repeats counts each time."""
    for module in (bounds, extract.__globals__):
        if isinstance(module, dict):
            monkeypatch.setitem(module, "MAX_CHARACTERS", 500)
        else:
            monkeypatch.setattr(module, "MAX_CHARACTERS", 500)
    with pytest.raises(ExtractionError, match="more than 500 characters"):
        extract(content, extension, DOCUMENT)


@pytest.mark.requirement("Faults of others", "H4: files of a few kB do not hold the compute processes")
def test_images_that_are_too_large_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text, and the images before the limit, stay."""
    small, large = png(1), png(2) + bytes(5_000)
    monkeypatch.setattr("streams.dify.extraction.word.images.MAX_IMAGE_BYTES", 1_000)
    found = extract(word(pictures=(small, large)), "docx", DOCUMENT)
    assert [image.content for image in found.images] == [small]
    monkeypatch.setattr("streams.dify.extraction.word.images.MAX_IMAGES_BYTES", len(small) + 10)
    found = extract(word(pictures=(small, png(2))), "docx", DOCUMENT)
    assert [image.content for image in found.images] == [small]
    assert "Everyone has thirty days." in found.text


@pytest.mark.requirement("Faults of others", "M4: the bytes decide what an image is")
@pytest.mark.parametrize(
    ("content", "extension"),
    [
        (png(), "png"),
        (b"\xff\xd8\xff\xe0rest", "jpg"),
        (b"GIF89arest", "gif"),
        (b"RIFF\x00\x00\x00\x00WEBPrest", "webp"),
        (b"II*\x00rest", "tiff"),
        (b"BMrest", "bmp"),
        (b"<html><script>alert(1)</script>", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"", None),
    ],
)
def test_the_bytes_decide_what_an_image_is(content: bytes, extension: str | None) -> None:
    """Extension and type come from a fixed list. What is not on it is no image."""
    assert image_extension(content) == extension
    image = image_of(DOCUMENT, content)
    assert (image and (image.extension, image.mime_type)) == (extension and (extension, IMAGE_TYPES[extension]))


@pytest.mark.requirement("Faults of others", "M4: the bytes decide what an image is")
def test_a_page_that_a_word_file_calls_an_image_is_left_out() -> None:
    """A part `image.html` of type `text/html` becomes no upload file."""
    file = _replaced(word(pictures=(png(),)), "word/media/image1.png", png(), b"<html><script>alert(1)</script></html>")
    found = extract(file, "docx", DOCUMENT)
    assert found.images == ()
    assert "file-preview" not in found.text


@pytest.mark.requirement("Faults of others", "M7: the worker checks what a compute process returns")
@pytest.mark.parametrize(
    "image",
    [
        PreparedImage("../../etc/passwd", "png", 10),
        PreparedImage(DOCUMENT, "html", 10),
        PreparedImage(DOCUMENT, "x" * 300, 10),
        PreparedImage(DOCUMENT, "png", bounds.MAX_IMAGE_BYTES + 1),
        PreparedImage(DOCUMENT, "png", -1),
    ],
)
def test_reported_images_are_checked(image: PreparedImage) -> None:
    """Ids, types and sizes that no honest process reports are rejected."""
    good = PreparedImage(DOCUMENT, "png", 10)
    assert list(checked_images(Prepared(1, (good,)))) == [good]
    with pytest.raises(RefusedError):
        checked_images(Prepared(1, (good, image)))


@pytest.mark.requirement("Faults of others", "L10: a CSV file may have more columns than Excel has letters for")
def test_columns_beyond_those_of_excel() -> None:
    """A row that is longer than its header names its columns A, Z, AA, …, ZZZ, AAAA."""
    numbers = (1, 26, 27, 702, 703, 18_278, 18_279)
    assert [column_letters(number) for number in numbers] == ["A", "Z", "AA", "ZZ", "AAA", "ZZZ", "AAAA"]
    wide = b"name\n" + b"," * 18_300 + b"last"
    assert extract(wide, "csv", DOCUMENT).text == f"{column_letters(18_301)}: last\n\nname"


@pytest.mark.requirement("Faults of others", "M5: pieces are bounded by their text")
def test_an_overlap_does_not_multiply_the_text() -> None:
    """An overlap as large as the piece is rejected after some pieces. Usual overlaps are not."""
    text = " ".join(f"word{number}" for number in range(1_000))
    with pytest.raises(RefusedError, match="chunk_overlap is 4000 of max_tokens 4000"):
        contents_of(text, Segmentation(4_000, 4_000))
    half = contents_of(text, Segmentation(400, 200))
    assert len(text) < sum(map(len, half)) < 2.2 * len(text)


@pytest.mark.requirement("Faults of others", "M5: pieces are bounded by their text")
def test_the_pieces_of_a_document_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the setting that makes fewer of them."""
    monkeypatch.setattr(piece, "MAX_PIECES", 10)
    with pytest.raises(RefusedError, match=r"more than 10 pieces.*max_tokens"):
        contents_of("words " * 1_000, Segmentation(50, 0))


@pytest.mark.requirement("Faults of others", "H4: reading a file has a limit of processor time, by its size")
@pytest.mark.parametrize(("size", "seconds"), [(0, 60.0), (1 << 20, 70.0), (15 << 20, 210.0), (1 << 40, 1200.0)])
def test_the_time_to_read_a_file_depends_on_its_size(size: int, seconds: float) -> None:
    """A small file gets a minute. No file gets as long as the time limit of its attempt."""
    assert reading_seconds(size) == seconds
