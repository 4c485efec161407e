"""Counts the glyphs of a PDF whose characters are not known, by font.

A font may lack the table from glyphs to characters (ToUnicode). Then PDFium guesses, or takes the number of the glyph
for a character.
"""

import re
import unicodedata
from collections.abc import Iterator
from ctypes import byref, c_int, create_string_buffer
from dataclasses import dataclass, field

import pypdfium2.raw as pdfium
from pypdfium2 import PdfTextPage

from streams.dify.errors import ExtractionError
from streams.dify.extraction.pdf.page_text import READABLE_SHAPES

READABLE = 0.98
"""The share of readable characters below which a document gets a warning."""
_REFUSED = 0.5
"""The share of readable characters below which a document is refused."""
_SAMPLE = 50
"""How many characters of a page are checked first. All of them only if one is not known: a check is a call."""
_KEPT = 1000
"""How many characters of a font are kept for the judgement."""
_NAME = 200
_FONTS = 100
_LISTED = 3
_NO_CHARACTER = re.compile("[\u0000-\u0001\u0003-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\ue000-\uf8ff\ufffd]")
"""No text has these: control characters and private use."""
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "KATAKANA-HIRAGANA", "HALFWIDTH", "FULLWIDTH", "BOPOMOFO")
_LIVING = {
    *("LATIN", "GREEK", "CYRILLIC", "ARABIC", "HEBREW", "CJK", "THAI", "LAO", "KHMER", "MYANMAR", "DEVANAGARI"),
    *("BENGALI", "GURMUKHI", "GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "GEORGIAN"),
    *("ARMENIAN", "ETHIOPIC", "TIBETAN", "MONGOLIAN"),
}
"""The first words of the Unicode names of letters that documents are written in."""
_MOST_SCRIPTS = 3
"""Letters of more scripts than this in one font are numbers of glyphs."""


@dataclass(slots=True)
class _Font:
    unknown: int = 0
    """Glyphs without a character in the font's tables."""
    sample: list[str] = field(default_factory=list)

    def is_unreadable(self) -> bool:
        """Return whether the characters are numbers of glyphs and not what a reader sees."""
        text = "".join(self.sample)
        if _NO_CHARACTER.search(text):
            return True
        scripts = [_script(letter) for letter in text if letter.isalpha()]
        strange = sum(script not in _LIVING for script in scripts)
        return strange * 2 > len(scripts) or len(set(scripts)) > _MOST_SCRIPTS


class Glyphs:
    """The glyphs of the pages of one document."""

    def __init__(self) -> None:
        self._characters = 0
        self._fonts: dict[str, _Font] = {}

    def count(self, page: PdfTextPage, text: str) -> None:
        """Count the glyphs of a page.

        Args:
            page: the page.
            text: its text.
        """
        self._characters += len("".join(text.split()))
        total = page.count_chars()
        sampled = range(0, total, max(1, total // _SAMPLE))
        if _NO_CHARACTER.search(text) or any(_is_unknown(page, index) for index in sampled):
            for index in range(total):
                unit = pdfium.FPDFText_GetUnicode(page, index)
                character = READABLE_SHAPES.get(unit) or chr(unit)
                if _is_unknown(page, index) or _NO_CHARACTER.match(character):
                    self._add(_font_name(page, index), character)

    def _add(self, name: str, character: str) -> None:
        font = self._fonts.setdefault(name if name in self._fonts or len(self._fonts) < _FONTS else "", _Font())
        font.unknown += 1
        if len(font.sample) < _KEPT:
            font.sample.append(character)

    def warnings(self) -> Iterator[str]:
        """Yield a warning if many characters are unreadable. Raises ExtractionError if most of them are."""
        fonts = {name: font.unknown for name, font in self._fonts.items() if font.is_unreadable()}
        unreadable = min(sum(fonts.values()), self._characters)
        if not unreadable or unreadable <= self._characters * (1 - READABLE):
            return
        listed = ", ".join(sorted(fonts, key=lambda name: -fonts[name])[:_LISTED])
        reason = f"the PDF does not say which characters the glyphs of these fonts are: {listed}"
        if unreadable > self._characters * _REFUSED:
            message = f"most of the text cannot be decoded; {reason}"
            raise ExtractionError(message)
        yield f"{unreadable:,} of {self._characters:,} characters are not readable; {reason}"


def _is_unknown(page: PdfTextPage, index: int) -> bool:
    return bool(pdfium.FPDFText_HasUnicodeMapError(page, index) == 1)


def _font_name(page: PdfTextPage, index: int) -> str:
    name, flags = create_string_buffer(_NAME), c_int()
    length = pdfium.FPDFText_GetFontInfo(page, index, name, _NAME, byref(flags))
    shown = name.raw[: max(min(length, _NAME) - 1, 0)].decode("utf-8", "replace")
    return "".join(filter(str.isprintable, shown)) or "a font without a name"


def _script(letter: str) -> str:
    first = unicodedata.name(letter, "").partition(" ")[0]
    return "CJK" if first in _EAST_ASIAN else first
