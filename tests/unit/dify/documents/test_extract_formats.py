"""Binary files become text and images, or an error with the reason."""

from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from streams.dify.errors import ExtractionError
from streams.dify.extraction import EXTENSIONS, archive, extract
from tests.support.platform.document_files import MAIL, epub, linked_images, pdf, png, slides, word, xls, xlsx

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
OTHER = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a02"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


@pytest.mark.requirement("Extraction", "each format gives its text")
@pytest.mark.parametrize(
    ("extension", "content", "text"),
    [
        ("pdf", pdf("First page", "Second page"), "First page\n\nSecond page"),
        ("pdf", pdf("Open to all", password="secret", owner_only=True), "Open to all"),
        ("docx", word(), "Leave\nEveryone has thirty days.\n| City | Days |\n| --- | --- |\n| Oslo | 2 |"),
        ("csv", b"City,Days,\nOslo,2,\nRome,,x\n\n", "City: Oslo;Days: 2\n\nCity: Rome;C: x"),
        ("csv", b'City;Note\nOslo;"a, b\nc"\n', "City: Oslo;Note: a, b\nc"),
        (
            "xlsx",
            xlsx(("City", "Days"), ("Oslo", 2.0), (None, None), ("Rome", None)),
            '"City":"Oslo";"Days":"2"\n\n"City":"Rome"',
        ),
        ("xls", xls(("City", "Days"), ("Oslo", "two")), '"City":"Oslo";"Days":"two"'),
        ("epub", epub(), "The Book\n\nFirst chapter\n\nSecond chapter"),
        ("pptx", slides("Travel", "Speak slowly"), "Travel\n| Oslo | 2 |\n| --- | --- |\nSpeak slowly"),
        (
            "eml",
            MAIL,
            """From: Ada <ada@example.org>
To: Crew <crew@example.org>
Subject: Grüße

The kettle is new.

Attachments: manual.pdf""",
        ),
    ],
)
def test_each_format_gives_its_text(extension: str, content: bytes, text: str) -> None:
    found = extract(content, extension, DOCUMENT)
    assert found.text == text
    assert found.images == ()


def test_a_word_file_s_images_are_linked_where_they_stand() -> None:
    """Each image is returned once, though it is shown twice.

    Clean-up finds the links. Another document has separate images.
    """
    content = word(pictures=(png(1), png(2), png(1)))

    found = extract(content, "docx", DOCUMENT)

    assert [image.content for image in found.images] == [png(1), png(2)]
    assert {(image.extension, image.mime_type) for image in found.images} == {("png", "image/png")}
    first, second = found.images
    assert f"{first.link}\n{second.link}\n{first.link}\n| City" in found.text
    assert linked_images(found.text) == {first.file_id, second.file_id}
    assert extract(content, "docx", DOCUMENT) == found
    assert linked_images(extract(content, "docx", OTHER).text).isdisjoint(linked_images(found.text))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_empty_file_is_refused(extension: str) -> None:
    with pytest.raises(ExtractionError, match="the file is empty"):
        extract(b"", extension, DOCUMENT)


@pytest.mark.requirement(
    "Extraction",
    "encrypted, damaged, empty, of another type: a reason, which the document shows",
)
@pytest.mark.parametrize(
    ("extension", "content", "message"),
    [
        ("pdf", pdf("Secret", password="secret"), "the PDF is encrypted"),
        ("pdf", pdf(""), "contains no text; a scan"),
        ("pdf", b"%PDF-1.4\nnonsense", "the PDF is damaged"),
        ("pdf", pdf("First page")[:200], "damaged"),
        ("docx", OLE, "encrypted, or an Office file from before 2007"),
        ("xlsx", OLE, "encrypted, or an Office file from before 2007"),
        ("pptx", OLE, "encrypted, or an Office file from before 2007"),
        ("docx", b"nonsense", "damaged or of another type"),
        ("docx", word()[:-400], "damaged or of another type"),
        ("docx", epub(), "the DOCX file is damaged"),
        ("xlsx", epub(), "the XLSX file is damaged"),
        ("pptx", word(), "the PPTX file is damaged"),
        ("xlsx", xlsx(), "contains no text"),
        ("xls", b"nonsense", "the XLS file is damaged"),
        ("epub", word(), "not an EPUB"),
        ("epub", epub(locked=True), r"encrypted \(DRM\)"),
        ("eml", b"nonsense", "not an e-mail"),
        ("eml", b"From: a@b.c\nContent-Type: multipart/encrypted; boundary=x\n\n--x--", "e-mail is encrypted"),
        ("csv", b"\xff\x00", "binary, not text"),
        ("csv", b'a,b\n"' + b"x" * (11 << 20), "the CSV file is damaged"),
    ],
)
def test_what_cannot_be_read_says_why(extension: str, content: bytes, message: str) -> None:
    with pytest.raises(ExtractionError, match=message):
        extract(content, extension, DOCUMENT)


@pytest.mark.requirement("Extraction", "zip bombs")
@pytest.mark.parametrize("extension", ["docx", "xlsx", "pptx", "epub"])
def test_a_zip_bomb_is_refused_before_it_unpacks(extension: str) -> None:
    """By its declared sizes: a few hundred kilobytes would unpack to more than the limit."""
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED, compresslevel=9) as bomb, bomb.open("word/document.xml", "w") as inner:
        for _ in range(archive.MAX_UNPACKED // (1 << 20) + 1):
            inner.write(bytes(1 << 20))
    with pytest.raises(ExtractionError, match="the file unpacks to 257 MiB"):
        extract(packed.getvalue(), extension, DOCUMENT)


def test_an_encrypted_archive_is_refused() -> None:
    content = bytearray(epub())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ExtractionError, match="the file is encrypted"):
        extract(bytes(content), "epub", DOCUMENT)
