"""Compares an extracted text with what its file holds.

A reader that leaves out a part of a file raises no error. So the words of the file are collected a second time, without
the library of the reader and without its rules, and looked up in its text. Order, layout and repetition do not matter.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

from streams.dify.errors import ExtractionError
from streams.dify.extraction.completeness.binary_workbooks import binary_workbook_texts
from streams.dify.extraction.completeness.books import book_texts
from streams.dify.extraction.completeness.containers import (
    document_texts,
    mail_texts,
    slide_texts,
    workbook_texts,
)
from streams.dify.extraction.completeness.texts import (
    cue_texts,
    markdown_texts,
    page_texts,
    plain_texts,
    property_texts,
)
from streams.dify.extraction.result import Part

WHOLE = 0.995
"""The share of the words of a file that its text has at least. Below it, the document gets a warning."""
_FEWEST = 3
"""Fewer missing words than this are no warning: the number of a page, a name in a template."""
_MOST_WORDS = 100_000
"""How many different words of a file are looked up. Of more, a part is drawn by their hash."""
_WORD = re.compile(r"[^\W_]+")
_LONGEST = 64
"""Characters of a word that count."""
_EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Letters of scripts without spaces between words. Pairs of letters are looked up."""

_HELD: Mapping[str, Callable[[bytes], Iterable[str]]] = {
    "csv": plain_texts,
    "docx": document_texts,
    "eml": mail_texts,
    "epub": book_texts,
    "htm": page_texts,
    "html": page_texts,
    "markdown": markdown_texts,
    "md": markdown_texts,
    "mdx": markdown_texts,
    "pptx": slide_texts,
    "properties": property_texts,
    "txt": plain_texts,
    "vtt": cue_texts,
    "xls": binary_workbook_texts,
    "xlsx": workbook_texts,
    "xml": plain_texts,
}
"""The formats whose words are counted. The reader of PDF counts its own glyphs."""


class Share(NamedTuple):
    """How many different words a file holds, and how many of them are in its text."""

    held: int
    found: int

    @property
    def whole(self) -> bool:
        """Whether the text has as good as all words."""
        return self.found >= self.held * WHOLE or self.held - self.found < _FEWEST


def missing_text_warning(content: bytes, kind: str, parts: Sequence[Part]) -> str | None:
    """Return a warning if the text of a file lacks many of its words; None: it is whole, or nobody can count.

    Args:
        content: the bytes of the file.
        kind: its extension, in small letters.
        parts: the parts of its text.
    """
    share = found_share(content, kind, parts)
    if share is None or share.whole:
        return None
    missing = 1 - share.found / share.held
    return f"about {max(missing, 0.01):.0%} of the words that the file holds are not in its text"


def found_share(content: bytes, kind: str, parts: Sequence[Part]) -> Share | None:
    """Return how many of a file's words are in its text; None: its words cannot be counted.

    Args:
        content: the bytes of the file.
        kind: its extension, in small letters.
        parts: the parts of its text.
    """
    held_texts = _HELD.get(kind)
    if held_texts is None:
        return None
    words = _Words()
    try:
        for text in held_texts(content):
            words.add(_words(text))
    except ExtractionError:
        # The file is not as its format says, and its reader has read it all the same.
        return None
    held = len(words.held)
    for part in parts:
        words.held.difference_update(_words(part.text))
    return Share(held, held - len(words.held)) if held else None


class _Words:
    """Different words, or a fixed share of them if there are very many."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self._mask = 0

    def add(self, words: Iterable[str]) -> None:
        mask = self._mask
        self.held.update(words if not mask else (word for word in words if not _hash(word) & mask))
        while len(self.held) > _MOST_WORDS:
            self._mask = self._mask * 2 + 1
            self.held = {word for word in self.held if not _hash(word) & self._mask}


def _hash(word: str) -> int:
    return crc32(word.encode("utf-8", "replace"))


def _words(text: str) -> Iterator[str]:
    for found in _WORD.finditer(text):
        word = found[0]
        if word.isascii() or not _EAST_ASIAN.search(word):
            yield word[:_LONGEST]
        else:
            yield from (word[start : start + 2] for start in range(len(word) - 1))
