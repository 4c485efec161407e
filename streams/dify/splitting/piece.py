"""A piece of a document: what a form makes of a text, and what becomes a segment."""

from collections.abc import Iterable
from dataclasses import dataclass

from streams.dify.ids import text_hash
from streams.dify.splitting.clean import without_leading_punctuation
from streams.dify.splitting.rules import Segmentation
from streams.dify.splitting.split import split


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a document, or a part of one (a child)."""

    position: int
    """1 is the first."""
    content: str
    content_hash: str
    answer: str | None = None
    """What answers the content, where that is a question."""
    children: tuple["Piece", ...] = ()
    """The parts that get vectors in its place; their positions are within the piece."""


def contents_of(text: str, segmentation: Segmentation) -> list[str]:
    """A cleaned text, split; pieces that hold nothing but punctuation are dropped."""
    return list(filter(None, map(without_leading_punctuation, split(text, segmentation))))


def numbered(contents: Iterable[str]) -> tuple[Piece, ...]:
    """Pieces of these contents, in order."""
    return tuple(Piece(position, content, text_hash(content)) for position, content in enumerate(contents, start=1))
