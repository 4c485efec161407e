"""A piece of a document: the result of splitting, which becomes a segment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streams.dify.errors import RefusedError
from streams.dify.ids import text_hash
from streams.dify.splitting.clean import without_leading_punctuation
from streams.dify.splitting.rules import Segmentation
from streams.dify.splitting.split import split_lazily

MAX_PIECES = 250_000
"""Of a document: segments and child chunks together."""
MAX_REPEATED = 10
"""The pieces of a text may be this many times as long as the text. An overlap of the half doubles it."""


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
    place: Mapping[str, str | int] = field(default_factory=dict)
    """Where the piece is in its file: the place of the part that it was cut from."""


def contents_of(text: str, segmentation: Segmentation) -> list[str]:
    """Split a cleaned text. Pieces that contain only punctuation are dropped.

    Raises RefusedError for more than `MAX_PIECES`, or if they are `MAX_REPEATED` times as long as the text.
    """
    longest = MAX_REPEATED * max(len(text), segmentation.size)
    contents: list[str] = []
    characters = 0
    for content in filter(None, map(without_leading_punctuation, split_lazily(text, segmentation))):
        characters += len(content)
        if characters > longest:
            message = (
                f"the pieces are more than {MAX_REPEATED} times as long as their text: chunk_overlap is "
                f"{segmentation.overlap} of max_tokens {segmentation.size}; a tenth of it is usual"
            )
            raise RefusedError(message)
        contents.append(content)
        check_number(len(contents))
    return contents


def check_number(pieces: int) -> None:
    """Raise RefusedError for more than `MAX_PIECES`."""
    if pieces > MAX_PIECES:
        message = f"the document has more than {MAX_PIECES:,} pieces; split the file, or set a larger max_tokens"
        raise RefusedError(message)


def numbered(contents: Iterable[str], start: int = 1, place: Mapping[str, str | int] | None = None) -> list[Piece]:
    """Return pieces with these contents, in order.

    Args:
        contents: the contents.
        start: the position of the first piece.
        place: where the contents are in their file.
    """
    where = place or {}
    return [
        Piece(position, content, text_hash(content), place=where) for position, content in enumerate(contents, start)
    ]
