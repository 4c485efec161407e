"""Turns a file into the segments of a document, in a killable process: reads, cleans, splits and counts tokens.

Large data is in files of one folder, so that no process keeps a document in memory longer than necessary.
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

_TOKENIZER_BATCH = 1000
"""The number of pieces per call of the tokenizer."""


class PrepareRequest(NamedTuple):
    """The input of `prepare`; picklable."""

    folder: Path
    """The folder of this attempt only. It contains the file, and later the segments."""
    extension: str
    document_id: str
    form: Form
    rules: Rules
    count_tokens: bool
    """Whether to count tokens. Without a model the counts are 0, as on the platform."""

    @property
    def source(self) -> Path:
        """The path of the document's file."""
        return self.folder / "source"

    @property
    def segments(self) -> Path:
        """The path of the segments and child chunks: one JSON array per line."""
        return self.folder / "segments"


class Prepared(NamedTuple):
    """The result of `prepare`. The segments are in the folder."""

    characters: int
    """The number of characters of the text."""
    images: tuple[Image, ...]


def prepare(request: PrepareRequest) -> Prepared:
    """Read the file and write its segments to the folder. Raises RefusedError."""
    found = extract(request.source.read_bytes(), request.extension, request.document_id)
    request.source.unlink()
    pieces = pieces_of(found.text, request.form, request.rules)
    tokens = _tokens(pieces) if request.count_tokens else [0] * len(pieces)
    with request.segments.open("w", encoding="utf-8") as lines:
        for new in new_rows(pieces, tokens):
            lines.write(json.dumps(new, ensure_ascii=False))
            lines.write("\n")
    return Prepared(len(found.text), found.images)


def prepared_rows(request: PrepareRequest) -> Iterator[NewSegment | NewChild]:
    """Yield the rows that `prepare` has written, in order. A segment comes before its child chunks."""
    with request.segments.open(encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            # The third field is a segment's hash, or a child's position.
            yield NewSegment(*fields) if isinstance(fields[2], str) else NewChild(*fields)


def _tokens(pieces: Sequence[Piece]) -> list[int]:
    contents = (piece.content for piece in pieces)
    counts: list[int] = []
    while some := list(islice(contents, _TOKENIZER_BATCH)):
        counts += count_tokens_locally(some)
    return counts
