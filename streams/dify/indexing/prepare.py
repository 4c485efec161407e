"""A file becomes the segments of a document, in a killable process: read, cleaned, split, its tokens counted.

What may be large lies in files of one folder, so that neither side holds a document more often than it must.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from streams.dify.embedding.local import count_tokens_locally
from streams.dify.extraction import Image, extract
from streams.dify.indexing.segment_rows import NewChild, NewSegment, new_rows
from streams.dify.splitting.forms import Form, pieces_of
from streams.dify.splitting.piece import Piece
from streams.dify.splitting.rules import Rules

_COUNTED_AT_ONCE = 1000
"""Pieces whose tokens are counted in one call of the tokenizer."""


class Order(NamedTuple):
    """What is asked of the process; picklable."""

    folder: Path
    """Of this attempt alone; holds the file, and will hold the segments."""
    extension: str
    document_id: str
    form: Form
    rules: Rules
    counted: bool
    """Whether tokens are counted; where no model reads the segments they are 0, as on the platform."""

    @property
    def source(self) -> Path:
        """Where the document's file is expected."""
        return self.folder / "source"

    @property
    def segments(self) -> Path:
        """Where the segments and child chunks are put, a JSON array a line."""
        return self.folder / "segments"


class Prepared(NamedTuple):
    """What is left to know of a document whose segments lie in the folder."""

    characters: int
    """Of its text."""
    images: tuple[Image, ...]


def prepare(order: Order) -> Prepared:
    """Read the file and put down what it becomes. Raises RefusedError."""
    found = extract(order.source.read_bytes(), order.extension, order.document_id)
    order.source.unlink()
    pieces = pieces_of(found.text, order.form, order.rules)
    tokens = _tokens(pieces) if order.counted else [0] * len(pieces)
    with order.segments.open("w", encoding="utf-8") as lines:
        for new in new_rows(pieces, tokens):
            lines.write(json.dumps(new, ensure_ascii=False))
            lines.write("\n")
    return Prepared(len(found.text), found.images)


def prepared_rows(order: Order) -> Iterator[NewSegment | NewChild]:
    """What `prepare` has put down, in order, each segment before its child chunks."""
    with order.segments.open(encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            # The third field is a segment's hash, or a child's position.
            yield NewSegment(*fields) if isinstance(fields[2], str) else NewChild(*fields)


def _tokens(pieces: Sequence[Piece]) -> list[int]:
    contents = (piece.content for piece in pieces)
    counts: list[int] = []
    while some := list(islice(contents, _COUNTED_AT_ONCE)):
        counts += count_tokens_locally(some)
    return counts
