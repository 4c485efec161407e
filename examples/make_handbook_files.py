"""Write the handbook's files in binary formats: `python examples/make_handbook_files.py`.

Each is small and contains one fact that the rest of the handbook does not, so that a question can find it.
"""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import openpyxl
import pptx

HANDBOOK = Path(__file__).parent / "handbook"

CARS = """Company cars

There are three cars, all electric, in the yard behind the workshop.
Book one in the calendar called Wheels, at the latest the evening before.
Bring it back with at least 60 percent of charge and plug it in.
The fines for parking and speeding are the driver's own."""

ROOMS = ("Room", "Seats", "Screen", "Named after")
ROOM_ROWS = (
    ("Fram", 12, "large", "the ship that went to both poles"),
    ("Kon-Tiki", 6, "small", "the raft"),
    ("Maud", 4, "none", "the ship that came home late"),
)

NUMBERS = """Service,Extension,Hours
Front desk,100,8-17
IT help,200,7-18
Workshop first aid,911,always
Payroll,310,Tuesdays only
"""

LETTER = """From: Ingrid <ingrid@example.org>
To: Everyone <everyone@example.org>
Date: Mon, 02 Nov 2026 09:00:00 +0100
Subject: The coffee machine
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

The new coffee machine is cleaned on Fridays at four by whoever's name is on the list next to it.
Tablets for descaling are in the drawer below. Decaf is the green button.
"""

CHAPTERS = {
    "one": "The company began in 1987 in a boat house, with two people, one lathe and an order for six barometers.",
    "two": "In 2004 it moved to the old rope factory, where the long hall became the calibration room.",
}

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"


def pdf(text: str) -> bytes:
    """Return a PDF of one page, one line of text per line."""
    shown = " ".join(f"({line}) Tj T*" for line in text.splitlines())
    content = f"BT /F1 12 Tf 16 TL 60 760 Td {shown} ET".encode("ascii")
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 4 0 R>>>>/Contents 5 0 R>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
    )
    written, places = b"%PDF-1.7\n", b""
    for number, one in enumerate(objects, start=1):
        places += b"%010d 00000 n \n" % len(written)
        written += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    size = len(objects) + 1
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, places)
    return written + table + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, len(written))


def word(paragraphs: tuple[str, ...], picture: bytes) -> bytes:
    """Return a Word file: paragraphs, then a picture, with only the parts that a reader needs."""
    graphic = f'<a:graphic xmlns:a="{_DRAWING}"><a:blip r:embed="rId1"/></a:graphic>'
    image = f"<w:p><w:r><w:drawing>{graphic}</w:drawing></w:r></w:p>"
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs) + image
    document = f'<w:document xmlns:w="{_WORD}" xmlns:r="{_OFFICE}"><w:body>{body}</w:body></w:document>'
    main = f"{_PACKAGE}/content-types"
    types = (
        f'<Types xmlns="{main}"><Default Extension="png" ContentType="image/png"/>'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/word/document.xml" ContentType='
        '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
    )
    return _zipped(
        {
            "[Content_Types].xml": types,
            "_rels/.rels": _relation("officeDocument", "word/document.xml"),
            "word/_rels/document.xml.rels": _relation("image", "media/map.png"),
            "word/document.xml": document,
            "word/media/map.png": picture,
        }
    )


def _relation(kind: str, target: str) -> str:
    return (
        f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/{kind}" Target="{target}"/></Relationships>'
    )


def png(size: int) -> bytes:
    """Return a square image of grey shades."""
    rows = b"".join(bytes([0, *((row * column) % 256 for column in range(size))]) for row in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def xlsx() -> bytes:
    """Return a workbook with the rooms."""
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (ROOMS, *ROOM_ROWS):
        sheet.append(row)
    target = BytesIO()
    book.save(target)
    return target.getvalue()


def slides() -> bytes:
    """Return a presentation: one slide with a text box."""
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    slide.shapes.add_textbox(
        0, 0, 5_000_000, 1_000_000
    ).text_frame.text = (
        "Visitors\nThey sign in at the front desk, wear a yellow badge and are never alone in the workshop."
    )
    target = BytesIO()
    deck.save(target)
    return target.getvalue()


def epub() -> bytes:
    """Return an EPUB with one file per chapter."""
    items = "".join(f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"/>' for name in CHAPTERS)
    spine = "".join(f'<itemref idref="{name}"/>' for name in CHAPTERS)
    container = '<container><rootfiles><rootfile full-path="book.opf"/></rootfiles></container>'
    metadata = "<metadata><dc:title>A short history of the company</dc:title></metadata>"
    return _zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "book.opf": f"<package>{metadata}<manifest>{items}</manifest><spine>{spine}</spine></package>",
            **{f"{name}.xhtml": f"<html><body><p>{text}</p></body></html>" for name, text in CHAPTERS.items()},
        }
    )


def _zipped(files: dict[str, str | bytes]) -> bytes:
    target = BytesIO()
    with ZipFile(target, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def main() -> None:
    """Write all files, and overwrite existing ones."""
    places = (
        "Where to meet in a fire",
        "Everyone meets at the flagpole in front of the rope factory, not in the yard.",
    )
    files = {
        "coffee-machine.eml": LETTER.encode(),
        "company-cars.pdf": pdf(CARS),
        "fire-drill.docx": word(places, png(64)),
        "history.epub": epub(),
        "meeting-rooms.xlsx": xlsx(),
        "telephone.csv": NUMBERS.encode(),
        "visitors.pptx": slides(),
    }
    for name, content in files.items():
        (HANDBOOK / name).write_bytes(content)


if __name__ == "__main__":
    main()
