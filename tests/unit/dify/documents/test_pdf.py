"""PDFs are read page by page, as their reader sees them. The files are written here byte by byte."""

import subprocess
import sys
from functools import partial
from itertools import pairwise

import pytest

from benchmarks.pdf_bytes import Stream, page, pdf_bytes, text_pdf
from streams.dify.errors import ExtractionError
from streams.dify.extraction import Extracted, bounds, extract
from tests.support.documents.growth import LINEAR, growth
from tests.support.pages import ROOT

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
IMAGE = b"<</Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8/Length 1>>"


def read(content: bytes) -> Extracted:
    return extract(content, "pdf", DOCUMENT)


def shown(text: bytes) -> bytes:
    """Return the content of a page with one text."""
    return b"BT /F1 12 Tf 20 200 Td (%s) Tj ET" % text


def glyph_pdf(content: bytes, characters: dict[int, str], ordering: bytes = b"Identity") -> bytes:
    """Return a PDF of one page whose font has two bytes per glyph.

    Args:
        content: the content of the page.
        characters: the characters of glyphs, for the font's table; empty: it has none.
        ordering: the collection of characters that the glyphs are of.
    """
    encoding = b"/Identity-H" if ordering == b"Identity" else b"/90ms-RKSJ-H"
    pairs = b" ".join(
        b"<%04x><%s>" % (code, text.encode("utf-16-be").hex().encode()) for code, text in characters.items()
    )
    table = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /T def 1 begincodespacerange "
        b"<0000><ffff> endcodespacerange %d beginbfchar %s endbfchar endcmap end end" % (len(characters), pairs)
    )
    return pdf_bytes(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[4 0 R]/Count 1>>",
            b"<</Type/Font/Subtype/Type0/BaseFont/ABCDEF+Rare/Encoding%s/DescendantFonts[6 0 R]%s>>"
            % (encoding, b"/ToUnicode 7 0 R" if characters else b""),
            page(5),
            Stream(content),
            b"<</Type/Font/Subtype/CIDFontType2/BaseFont/ABCDEF+Rare/DW 600/FontDescriptor 8 0 R"
            b"/CIDSystemInfo<</Registry(Adobe)/Ordering(%s)/Supplement 0>>>>" % ordering,
            Stream(table),
            b"<</Type/FontDescriptor/FontName/ABCDEF+Rare/Flags 4/FontBBox[0 0 1000 1000]/ItalicAngle 0/StemV 80>>",
        ]
    )


def placed(*glyphs: tuple[int, int]) -> bytes:
    """Return the content of a page with each glyph (of 6 points, at 10 points) at its own distance from the left."""
    moves = (100 * (left + 6 - after) for (_, left), (_, after) in pairwise(glyphs))
    written = b" ".join(b"<%04x> %d" % (code, move) for (code, _), move in zip(glyphs, (*moves, 0), strict=True))
    return b"BT /F1 10 Tf %d 500 Td [%s] TJ ET" % (glyphs[0][1], written)


@pytest.mark.requirement("Extraction", "a PDF has one part per page, with its number")
def test_each_page_is_a_part_with_its_number() -> None:
    """A page without text is no part, and the numbers stay those of the file."""
    found = read(text_pdf([shown(b"First page"), b"", shown(b"Third page")]))
    assert [(part.text, part.place) for part in found.parts] == [
        ("First page", {"page": 1}),
        ("Third page", {"page": 3}),
    ]
    assert found.warnings == ()


@pytest.mark.requirement("Extraction", "words of a PDF that only a distance separates stay apart")
def test_a_distance_is_a_space() -> None:
    """Justified text of TeX and forms have no space characters. Cells of a row stay in one line."""
    words = b"BT /F1 12 Tf 20 500 Td [(Explain)-350(the)-350(importance)] TJ ET"
    cells = ((20, b"37,499.96"), (120, b"DISTRICT"), (220, b"BAIN"))
    row = b" ".join(b"BT /F1 10 Tf %d 300 Td (%s) Tj ET" % cell for cell in cells)
    assert read(text_pdf([words])).text == "Explain the importance"
    assert read(text_pdf([row])).text.split() == ["37,499.96", "DISTRICT", "BAIN"]


@pytest.mark.requirement("Extraction", "a PDF with East Asian fonts without a table of characters is read")
def test_a_japanese_font_without_a_table_is_read() -> None:
    """The encoding names the characters: 90ms-RKSJ is Shift-JIS."""
    content = b"BT /F1 12 Tf 20 200 Td <%s> Tj ET" % "標準マーケット".encode("cp932").hex().encode()
    assert read(glyph_pdf(content, {}, b"Japan1")).text == "標準マーケット"


@pytest.mark.requirement("Extraction", "a PDF with East Asian fonts without a table of characters is read")
@pytest.mark.parametrize("letters", ["標準", "かな", "한국", "กขค", "абв", "سلا", "\U00020000"])
def test_letters_of_a_font_that_is_nowhere_are_read(letters: str) -> None:
    """Each letter is a text of its own, as many programs write it. Neither the file nor the machine has the font."""
    codes = dict(enumerate(letters, start=1))
    single = (b"1 0 0 1 %d 500 Tm <%04x> Tj" % (20 + 6 * code, code) for code in codes)
    found = read(glyph_pdf(b"BT /F1 10 Tf %s ET" % b" ".join(single), codes)).text
    assert sorted(found) == sorted(letters)
    whole = "".join(letter.encode("cp932", "ignore").hex() for letter in letters)
    if len(whole) == 4 * len(letters):
        named = (
            b"1 0 0 1 %d 500 Tm <%s> Tj" % (20 + 6 * n, whole[4 * n : 4 * n + 4].encode()) for n in range(len(letters))
        )
        assert read(glyph_pdf(b"BT /F1 10 Tf %s ET" % b" ".join(named), {}, b"Japan1")).text == letters


@pytest.mark.requirement("Extraction", "a PDF whose glyphs have no known characters is refused with the font's name")
def test_a_font_without_characters_is_named() -> None:
    """`This is` in the glyph numbers of a TrueType font: 29 less than the letters, and 3 is the space."""
    numbers = b"".join(b"%04x" % (letter - 29) for letter in b"This is an Arial text")
    with pytest.raises(ExtractionError, match=r"most of the text cannot be decoded.*ABCDEF\+Rare"):
        read(glyph_pdf(b"BT /F1 12 Tf 20 200 Td <%s> Tj ET" % numbers, {}))
    with pytest.raises(ExtractionError, match=r"most of the text cannot be decoded.*ABCDEF\+Rare"):
        read(glyph_pdf(placed((1, 20), (2, 30)), {1: "\ue76f", 2: "\ue770"}))


@pytest.mark.requirement("Extraction", "a PDF with some unreadable glyphs is read with a warning")
def test_some_glyphs_without_characters_are_a_warning() -> None:
    """The readable part stays. One odd sign in a long text is no warning."""
    line = [(1, 20 + 6 * number) for number in range(90)]
    assert read(glyph_pdf(placed(*line, (2, 560)), {1: "a", 2: "\ue0b7"})).warnings == ()
    (warning,) = read(glyph_pdf(placed(*line[:9], (2, 560)), {1: "a", 2: "\ue0b7"})).warnings
    assert "1 of 10 characters" in warning
    assert "ABCDEF+Rare" in warning


@pytest.mark.requirement("Extraction", "characters outside the basic plane of Unicode stay in a PDF's text")
def test_characters_beyond_the_basic_plane_stay() -> None:
    assert read(glyph_pdf(placed((1, 20), (2, 26), (3, 32)), {1: "😀", 2: "𠀀", 3: "z"})).text == "😀𠀀z"


@pytest.mark.requirement("Extraction", "small capitals, old-style digits and bullets of a PDF are characters")
def test_shapes_of_letters_and_digits_are_what_they_show() -> None:
    """Fonts of Adobe have them at places of private use, which nobody can type."""
    characters = dict(enumerate("\uf761\uf7e9\uf731\uf739\uf0b7", start=1))
    found = read(glyph_pdf(b"BT /F1 12 Tf 20 200 Td <00010002000300040005> Tj ET", characters))
    assert (found.text, found.warnings) == ("aé19•", ())


@pytest.mark.requirement("Extraction", "Arabic in a PDF is text as people type it, in the order of reading")
@pytest.mark.parametrize("from_left", [True, False])
def test_arabic_is_in_the_order_of_reading(*, from_left: bool) -> None:
    """`سلام بيت`, in presentation forms, with lam and alef as one glyph; the glyphs written in either order."""
    letters = {1: "\ufeb3", 2: "\ufefc", 3: "\ufee1", 4: "\ufe91", 5: "\ufef4", 6: "\ufe96"}
    places = [(1, 200), (2, 194), (3, 188), (4, 170), (5, 164), (6, 158)]
    assert read(glyph_pdf(placed(*(reversed(places) if from_left else places)), letters)).text == "سلام بيت"
    spelled = {**letters, 1: "\u0633", 2: "\u0644\u0627", 3: "\u0645", 4: "\u0628", 5: "\u064a", 6: "\u062a"}
    assert read(glyph_pdf(placed(*(reversed(places) if from_left else places)), spelled)).text == "سلام بيت"


@pytest.mark.requirement(
    "Extraction", "a damaged PDF is read page by page, with a warning for the pages that are not read"
)
def test_a_damaged_page_is_left_out_with_a_warning() -> None:
    """Pages 2 and 4 are no pages. The tables that a PDF ends with may be missing too."""
    whole = text_pdf([shown(b"First page"), shown(b"Second"), shown(b"Third page"), shown(b"Fourth")])
    damaged = whole.replace(b"4 0 R 6 0 R 8 0 R 10 0 R", b"4 0 R 5 0 R 8 0 R 77 0 R")
    found = read(damaged)
    assert [part.place["page"] for part in found.parts] == [1, 3]
    assert found.warnings == ("pages 2, 4 cannot be read: the PDF is damaged there",)
    assert read(whole[: whole.index(b"xref")] + b"trailer<</Root 1 0 R>>").text.count("page") == 2


@pytest.mark.requirement("Extraction", "a PDF is refused only if no page of it can be read")
def test_a_pdf_without_any_readable_page_is_refused() -> None:
    whole = text_pdf([shown(b"First page"), shown(b"Second")])
    with pytest.raises(ExtractionError, match="the PDF is damaged: pages 1-2 cannot be read"):
        read(whole.replace(b"4 0 R 6 0 R", b"5 0 R 77 0 R"))


@pytest.mark.requirement("Extraction", "scanned pages between pages with text are a warning")
def test_a_scanned_page_is_a_warning() -> None:
    """A PDF of scans alone is refused, as ever."""
    scan = b"q 500 0 0 700 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x00 EI Q"
    found = read(text_pdf([shown(b"First page"), scan, scan, shown(b"Fourth page")]))
    assert found.warnings == ("pages 2-3 contain images and no text: a scan needs text recognition first",)
    with pytest.raises(ExtractionError, match="contains no text; a scan needs text recognition"):
        read(text_pdf([scan]))


def test_a_hyphen_at_the_end_of_a_line_joins_the_word() -> None:
    """A search finds the word. A hyphen within a line stays."""
    lines = b"BT /F1 12 Tf 14 TL 20 500 Td (The well-known adip-) Tj T* (iscing word) Tj ET"
    assert read(text_pdf([lines])).text.split() == ["The", "well-known", "adipiscing", "word"]


@pytest.mark.requirement("Extraction", "the text of a PDF is bounded")
def test_the_text_of_a_pdf_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at the first page beyond the limit."""
    monkeypatch.setattr(bounds, "MAX_CHARACTERS", 50)
    with pytest.raises(ExtractionError, match="more than 50 characters"):
        read(text_pdf([shown(b"x" * 20)] * 4))


@pytest.mark.requirement("Extraction", "the time for a PDF grows with its size")
@pytest.mark.parametrize("kind", ["pages", "characters", "fonts without a table", "arabic", "declared pages"])
def test_the_time_grows_with_the_size(kind: str) -> None:

    def read_whole(content: bytes) -> None:
        try:
            read(content)
        except ExtractionError as error:
            assert "decoded" in str(error)  # noqa: PT017 - one kind is refused after it was read

    assert growth(*(partial(read_whole, hostile(kind, factor)) for factor in (1, 4))) < LINEAR


def hostile(kind: str, factor: int) -> bytes:
    if kind == "pages":
        return text_pdf([shown(b"words of a page")] * (200 * factor))
    if kind == "characters":
        return text_pdf([shown(b"words of a page " * (400 * factor))])
    if kind == "fonts without a table":
        return glyph_pdf(b"BT /F1 12 Tf 20 200 Td <%s> Tj ET" % (b"00370003" * (2_000 * factor)), {})
    if kind == "arabic":
        return glyph_pdf(b"BT /F1 12 Tf 20 200 Td <%s> Tj ET" % (b"0001" * (2_000 * factor)), {1: "\u0628"})
    return text_pdf([shown(b"a page")]).replace(b"/Count 1", b"/Count %d" % (50_000 * factor))


IN_THREADS = """
from concurrent.futures import ThreadPoolExecutor
from benchmarks.pdf_bytes import text_pdf
from streams.dify.extraction import extract

content = text_pdf([b"BT /F1 12 Tf 20 200 Td (words of a page) Tj ET"] * 40)
with ThreadPoolExecutor(4) as pool:
    found = pool.map(lambda number: extract(content, "pdf", str(number)), range(200))
    print(sum(len(one.parts) for one in found))
"""


def test_threads_of_a_process_may_read_pdfs() -> None:
    """PDFium ends the process if two threads call it at the same time. So this is another process."""
    done = subprocess.run([sys.executable, "-c", IN_THREADS], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (0, "8000\n"), done.stderr
