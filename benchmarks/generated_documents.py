"""Generates documents from random words with a fixed seed: every run has the same ones, and no two texts are alike."""

import random
from collections.abc import Iterator

from benchmarks.pdf_bytes import text_pdf

_SYLLABLES = ("ka", "lo", "mi", "ren", "tu", "sha", "vel", "no", "dri", "pas", "quo", "el", "ba", "fi", "gor")
_LINE = 80
_LINES_PER_PAGE = 40


def words(seed: str) -> Iterator[str]:
    """Yield words endlessly."""
    draw = random.Random(seed)
    while True:
        yield "".join(draw.choices(_SYLLABLES, k=draw.randint(1, 4)))


def text(characters: int, seed: str) -> str:
    """Return at least `characters` characters: sentences of about one line, paragraphs of five sentences."""
    drawn = words(seed)
    parts: list[str] = []
    length = sentences = 0
    while length < characters:
        sentence = " ".join(next(drawn) for _ in range(12)).capitalize() + "."
        sentences += 1
        sentence += "\n\n" if sentences % 5 == 0 else " "
        parts.append(sentence)
        length += len(sentence)
    return "".join(parts)


def pdf(pages: int, seed: str) -> bytes:
    """Return a PDF of full pages: 40 lines of about 80 characters each."""
    drawn = words(seed)
    contents = (" T* ".join(f"({_line(drawn)}) Tj" for _ in range(_LINES_PER_PAGE)) for _ in range(pages))
    return text_pdf(f"BT /F1 10 Tf 14 TL 40 800 Td {lines} ET".encode("ascii") for lines in contents)


def _line(drawn: Iterator[str]) -> str:
    line = next(drawn)
    while len(line) < _LINE:
        line += f" {next(drawn)}"
    return line
