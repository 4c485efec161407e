"""Creates small files of each format, with the formats' own libraries if they can write."""

import re
import struct
import zlib
from io import BytesIO
from zipfile import ZipFile

import docx
import openpyxl
import pptx

from benchmarks.pdf_bytes import text_pdf


def linked_images(text: str) -> set[str]:
    """Return the ids of the files that a text shows as images."""
    return set(re.findall(r"/files/([0-9a-f-]{36})/file-preview", text))


def png(shade: int = 0) -> bytes:
    """Return an image of one grey pixel."""
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes([0, shade]))),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def pdf(*pages: str, password: str | None = None, owner_only: bool = False) -> bytes:
    """Return a PDF with one page per text (ASCII without brackets)."""
    contents = (f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode("ascii") if text else b"" for text in pages)
    secret = (password or "").encode()
    return text_pdf(contents, None if password is None else (b"" if owner_only else secret, secret))


def word(*, pictures: tuple[bytes, ...] = (), paragraphs: tuple[str, ...] = ("Everyone has thirty days.",)) -> bytes:
    """Return a Word file with a heading, paragraphs, pictures, and a table of two rows."""
    document = docx.Document()
    document.add_heading("Leave")
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    for snapshot in pictures:
        document.add_picture(BytesIO(snapshot))
    table = document.add_table(rows=2, cols=2)
    for number, text in enumerate(("City", "Days", "Oslo", "2")):
        table.cell(number // 2, number % 2).text = text
    target = BytesIO()
    document.save(target)
    return target.getvalue()


def xlsx(*rows: tuple[str | float | None, ...]) -> bytes:
    """Return a workbook with one sheet."""
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in rows:
        sheet.append(row)
    target = BytesIO()
    book.save(target)
    return target.getvalue()


def xls(*rows: tuple[str, ...]) -> bytes:
    """Return one sheet in the format of Excel 2, the oldest one, which needs no container."""
    labels = (
        struct.pack("<HH3sB", row, column, bytes(3), len(text)) + text.encode("ascii")
        for row, texts in enumerate(rows)
        for column, text in enumerate(texts)
    )
    records = [(0x0009, struct.pack("<HH", 2, 0x10)), *((0x0004, label) for label in labels), (0x000A, b"")]
    return b"".join(struct.pack("<HH", kind, len(body)) + body for kind, body in records)


def slides(title: str, note: str) -> bytes:
    """Return a presentation with a title, a table and a note."""
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = title
    table = slide.shapes.add_table(1, 2, 0, 0, 100, 100).table
    table.cell(0, 0).text, table.cell(0, 1).text = "Oslo", "2"
    slide.notes_slide.notes_text_frame.text = note
    target = BytesIO()
    deck.save(target)
    return target.getvalue()


_CONTAINER = '<container><rootfiles><rootfile full-path="book/a.opf"/></rootfiles></container>'
_PACKAGE = """<package><metadata><dc:title>The Book</dc:title></metadata><manifest>
<item id="two" href="two%20b.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="one.xhtml" media-type="application/xhtml+xml"/>
</manifest><spine><itemref idref="one"/><itemref idref="two"/></spine></package>"""
_DRM = '<encryption><enc:EncryptedData><enc:CipherReference URI="book/one.xhtml"/></enc:EncryptedData></encryption>'


def epub(*, locked: bool = False) -> bytes:
    """Return an EPUB with two chapters. Only the spine has their order."""
    target = BytesIO()
    with ZipFile(target, "w") as book:
        book.writestr("META-INF/container.xml", _CONTAINER)
        book.writestr("book/a.opf", _PACKAGE)
        book.writestr("book/two b.xhtml", "<html><body><p>Second chapter</p></body></html>")
        book.writestr("book/one.xhtml", "<html><body><p>First chapter</p></body></html>")
        if locked:
            book.writestr("META-INF/encryption.xml", _DRM)
    return target.getvalue()


MAIL = b"""From: Ada <ada@example.org>
To: Crew <crew@example.org>
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
Content-Type: multipart/mixed; boundary=x

--x
Content-Type: text/html; charset=utf-8

<p>The <b>kettle</b> is new.</p>
--x
Content-Type: application/pdf
Content-Disposition: attachment; filename=manual.pdf

JVBERg==
--x--
"""
