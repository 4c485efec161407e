"""A piece of a document: the result of splitting, which becomes a segment."""

from collections.abc import Iterable
from dataclasses import dataclass

from streams.dify.ids import text_hash
from streams.dify.splitting.clean import without_leading_punctuation
from streams.dify.splitting.rules import Segmentation
from streams.dify.splitting.split import split


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a document, or a part of a piece (a child)."""

    position: int
    """Starts at 1."""
    content: str
    content_hash: str
    answer: str | None = None
    """The answer, if the content is a question."""
    children: tuple["Piece", ...] = ()
    """The parts that get vectors instead of the piece. Their positions count within the piece."""


def contents_of(text: str, segmentation: Segmentation) -> list[str]:
    """Split a cleaned text. Pieces that contain only punctuation are dropped."""
    return list(filter(None, map(without_leading_punctuation, split(text, segmentation))))


def numbered(contents: Iterable[str]) -> tuple[Piece, ...]:
    """Return pieces with these contents, in order."""
    return tuple(Piece(position, content, text_hash(content)) for position, content in enumerate(contents, start=1))
