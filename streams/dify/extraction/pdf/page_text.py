"""The text of one page, as its reader would type it."""

import re
import unicodedata
from ctypes import byref
from itertools import pairwise
from typing import NamedTuple

import pypdfium2.raw as pdfium
from pypdfium2 import PdfTextPage

_RIGHT_TO_LEFT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
_HAS_RIGHT_TO_LEFT = re.compile(f"[{_RIGHT_TO_LEFT}]")
_RUN = re.compile(f"[{_RIGHT_TO_LEFT}](?:[{_RIGHT_TO_LEFT} .,:;!?\"'()«»-]*[{_RIGHT_TO_LEFT}])?")
"""Letters from right to left, with the spaces and signs between them."""
_PRESENTATION = re.compile("[\ufb50-\ufdff\ufe70-\ufefc]+")
"""Arabic letters in one of their four shapes. Nobody types them, so no search finds them."""
_HYPHEN = re.compile("[\u0002\ufffe](?=(.?))")
"""PDFium's sign for a hyphen at the end of a line, and for the line end."""
_ADOBE_SHAPES = range(0xF721, 0xF800)
"""Adobe's places for small capitals and old-style digits: the last byte is that of the letter or digit."""
_BULLETS = {0xF0A7: "▪", 0xF0A8: "◻", 0xF0B7: "•", 0xF0D8: "➢", 0xF0FC: "✔"}
"""The signs of lists in the fonts Symbol and Wingdings, as word processors place them."""
READABLE_SHAPES = {code: chr(code & 0xFF) for code in _ADOBE_SHAPES} | _BULLETS
"""Characters of private use whose meaning is known. Nobody can type them."""
_SPACES = re.compile(" {2,}")
_SPACE = 0.15
"""The distance of two words, in heights of a line."""
_ALEFS, _LAM = "\u0622\u0623\u0625\u0627", "\u0644"


class _Glyph(NamedTuple):
    left: float
    right: float
    bottom: float
    top: float


def page_text(page: PdfTextPage) -> str:
    """Return the text of a page: a hyphenated word in one piece, Arabic and Hebrew in the order of reading."""
    text = str(page.get_text_range())
    if _HAS_RIGHT_TO_LEFT.search(text):
        # NFKC makes letters of the shapes, and the two letters of a ligature.
        text = _PRESENTATION.sub(lambda found: unicodedata.normalize("NFKC", found[0]), _in_reading_order(page))
    text = text.translate(READABLE_SHAPES).replace("\r\n", "\n")
    return _HYPHEN.sub(lambda found: "" if found[1].islower() else "-", text)


def _in_reading_order(page: PdfTextPage) -> str:
    """Return the text of a page, with each run from right to left in the order of reading.

    PDFium reverses such a run, since most programs write its glyphs from left to right. Others write them in the order
    of reading, or several letters as one glyph. The places of the glyphs tell.
    """
    units = [pdfium.FPDFText_GetUnicode(page, index) for index in range(page.count_chars())]
    # One character per unit, so that a place in the text is an index of PDFium.
    text = "".join(map(chr, units))
    pieces: list[str] = []
    end = 0
    for found in _RUN.finditer(text):
        pieces += (text[end : found.start()], _run(found[0], _glyphs(page, *found.span())))
        end = found.end()
    return "".join((*pieces, text[end:])).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _run(text: str, glyphs: list[_Glyph]) -> str:
    """Return a run in the order of reading: each glyph is left of the one before."""
    letters = list(text)
    steps = [after.left - before.left for before, after in pairwise(glyphs)]
    if sum(step < 0 for step in steps) <= sum(step > 0 for step in steps):
        letters.reverse()
        glyphs.reverse()
        # PDFium finds the spaces between words from left to right only.
        for index, (before, after) in enumerate(pairwise(glyphs)):
            if before.left - after.right > _SPACE * (before.top - before.bottom):
                letters[index] += " "
    for index, (before, after) in enumerate(pairwise(glyphs)):
        # No glyph shows an alef and then a lam: it is the ligature of lam and alef, reversed.
        if before == after and letters[index] in _ALEFS and letters[index + 1] == _LAM:
            letters[index : index + 2] = letters[index + 1], letters[index]
    return _SPACES.sub(" ", "".join(letters))


def _glyphs(page: PdfTextPage, start: int, end: int) -> list[_Glyph]:
    """Return the boxes of the glyphs: as wide as the font says, as high as its letters."""
    box = pdfium.FS_RECTF()
    boxes = []
    for index in range(start, end):
        pdfium.FPDFText_GetLooseCharBox(page, index, byref(box))
        boxes.append(_Glyph(box.left, box.right, box.bottom, box.top))
    return boxes
