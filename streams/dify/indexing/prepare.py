"""Turns a file into the segments of a document, in a killable process: reads, cleans, splits and counts tokens.

Large data is in files of one folder, so that no process keeps a document in memory longer than necessary.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from streams.dify.embedding.local import count_tokens_locally
from streams.dify.errors import RefusedError
from streams.dify.extraction import extract
from streams.dify.extraction.bounds import MAX_IMAGE_BYTES
from streams.dify.extraction.result import IMAGE_TYPES, with_files_url
from streams.dify.ids import checked_id, storable
from streams.dify.indexing.segment_rows import NewChild, NewSegment, new_rows
from streams.dify.splitting.forms import Form, pieces_of
from streams.dify.splitting.piece import Piece
from streams.dify.splitting.rules import Rules
from streams.observability.printable import escape_line

_READING_SECONDS = 60.0
_READING_SECONDS_PER_MIB = 10.0
_MAX_READING_SECONDS = 1200.0
"""Less than the soft time limit of the handler, so that the document shows this reason."""
_MOST_WARNINGS = 20
_LONGEST_WARNING = 500
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
    files_url: str = ""
    """What the links to images begin with, before ``/files``."""

    @property
    def source(self) -> Path:
        """The path of the document's file."""
        return self.folder / "source"

    def image(self, file_id: str) -> Path:
        """Return the path of an image."""
        return self.folder / f"image-{file_id}"

    @property
    def segments(self) -> Path:
        """The path of the segments and child chunks: one JSON array per line."""
        return self.folder / "segments"


class PreparedImage(NamedTuple):
    """An image of the document. Its bytes are in the folder."""

    file_id: str
    extension: str
    size: int
    """Bytes."""


class Prepared(NamedTuple):
    """The result of `prepare`. The segments and the images are in the folder."""

    characters: int
    """The number of characters of the text."""
    images: tuple[PreparedImage, ...]
    warnings: tuple[str, ...] = ()
    """What of the file is not in the text, and why."""


def prepare(request: PrepareRequest) -> Prepared:
    """Read the file and write its segments to the folder. Raises RefusedError."""
    found = extract(request.source.read_bytes(), request.extension, request.document_id)
    request.source.unlink()
    found = with_files_url(found, request.files_url)
    pieces = pieces_of(found.parts, request.form, request.rules)
    tokens = _tokens(pieces) if request.count_tokens else [0] * len(pieces)
    with request.segments.open("w", encoding="utf-8") as lines:
        for new in new_rows(pieces, tokens):
            lines.write(json.dumps(new, ensure_ascii=False))
            lines.write("\n")
    for image in found.images:
        request.image(image.file_id).write_bytes(image.content)
    images = tuple(PreparedImage(image.file_id, image.extension, len(image.content)) for image in found.images)
    return Prepared(sum(len(part.text) for part in found.parts), images, found.warnings)


def checked_images(prepared: Prepared) -> Sequence[PreparedImage]:
    """Return the images, after a check of what the process reports: it has read a file of a stranger.

    Raises RefusedError.
    """
    for image in prepared.images:
        checked_id("file_id", image.file_id)
        if image.extension not in IMAGE_TYPES or not 0 < image.size <= MAX_IMAGE_BYTES:
            message = f"an image of {image.size} bytes and type {image.extension[:20]!r} is not allowed"
            raise RefusedError(message)
    return prepared.images


def checked_warnings(prepared: Prepared) -> tuple[str, ...]:
    """Return the warnings, each as one short line: the process has read a file of a stranger."""
    return tuple(escape_line(storable(warning))[:_LONGEST_WARNING] for warning in prepared.warnings[:_MOST_WARNINGS])


def reading_seconds(size: int) -> float:
    """Return the processor time in seconds that `prepare` may use for a file of this many bytes."""
    return min(_READING_SECONDS + size / (1 << 20) * _READING_SECONDS_PER_MIB, _MAX_READING_SECONDS)


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
