"""Reads the rows of an import from a CSV file, in a killable process.

The first row is the header. The first column is the content. In a document of questions and answers, the second column
is the answer. A row that cannot be a segment is reported, and the others are imported.
"""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from streams.dify.embedding.local import count_tokens_locally
from streams.dify.errors import RefusedError
from streams.dify.extraction.plain import plain_text
from streams.dify.ids import text_hash
from streams.dify.splitting.forms import Form
from streams.dify.splitting.hierarchical import with_children
from streams.dify.splitting.piece import Piece, check_number
from streams.dify.splitting.rules import Segmentation

_MAX_FIELD = 10 * 1024 * 1024
_REPORTED = 50
"""The number of rows that a report lists."""
_TOKENIZER_BATCH = 1000


class ImportRequest(NamedTuple):
    """The input of `read_rows`; picklable."""

    folder: Path
    """The folder of this attempt only. It contains the file, and later its rows."""
    form: Form
    children: Segmentation | None
    """How to split a segment into child chunks; None: it has none."""
    count_tokens: bool

    @property
    def source(self) -> Path:
        """The path of the CSV file."""
        return self.folder / "source"

    @property
    def rows(self) -> Path:
        """The path of the rows: one JSON array per line."""
        return self.folder / "rows"


class ImportRow(NamedTuple):
    """A row that becomes a segment."""

    number: int
    """Counts the usable rows, from 1. A repeated import gives a row the same number."""
    content: str
    answer: str | None
    tokens: int
    children: list[str]
    """The contents of the child chunks."""


class RefusedRow(NamedTuple):
    """A row that cannot be a segment."""

    row: int
    """As spreadsheets count: the header is row 1."""
    reason: str


class ReadRows(NamedTuple):
    """The result of `read_rows`. The rows are in the folder."""

    usable: int
    refused: int
    reports: tuple[RefusedRow, ...]
    """The first refused rows."""


def read_rows(request: ImportRequest) -> ReadRows:
    """Read the file and write its usable rows to the folder. Raises RefusedError if it has none, or too many."""
    text = plain_text(request.source.read_bytes())
    request.source.unlink()
    csv.field_size_limit(_MAX_FIELD)
    usable = refused = pieces = 0
    reports: list[RefusedRow] = []
    found = _found(text, request.form)
    with request.rows.open("w", encoding="utf-8") as lines:
        while some := list(islice(found, _TOKENIZER_BATCH)):
            good = [row for row in some if isinstance(row, tuple) and not isinstance(row, RefusedRow)]
            bad = [row for row in some if isinstance(row, RefusedRow)]
            refused += len(bad)
            reports += bad[: _REPORTED - len(reports)]
            counts = count_tokens_locally([content for content, _ in good]) if request.count_tokens else [0] * len(good)
            for (content, answer), tokens in zip(good, counts, strict=True):
                usable += 1
                children = _children(content, request.children)
                pieces += 1 + len(children)
                check_number(pieces)
                row = ImportRow(usable, content, answer, tokens, children)
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    if not usable:
        named = "; ".join(f"row {one.row}: {one.reason}" for one in reports[:3])
        raise RefusedError(f"the CSV file has no usable row{': ' if named else ''}{named}")
    return ReadRows(usable, refused, tuple(reports))


def rows_in(request: ImportRequest) -> Iterator[ImportRow]:
    """Yield the rows that `read_rows` has written, in order."""
    with request.rows.open(encoding="utf-8") as lines:
        for line in lines:
            yield ImportRow(*json.loads(line))


def _found(text: str, form: Form) -> Iterator[tuple[str, str | None] | RefusedRow]:
    """Yield content and answer of each row after the header, or why the row cannot be used. Blank lines are skipped."""
    for number, row in enumerate(_rows(text), start=1):
        if number == 1 or row == []:
            continue
        if isinstance(row, csv.Error):
            yield RefusedRow(number, str(row))
            continue
        content = row[0].strip()
        answer = row[1].strip() if form == "qa_model" and len(row) > 1 else None
        if not content:
            yield RefusedRow(number, "the first column is empty")
        elif form == "qa_model" and not answer:
            yield RefusedRow(number, "the second column, the answer, is empty")
        else:
            yield content, answer


def _rows(text: str) -> Iterator[list[str] | csv.Error]:
    """Yield each row, or why it cannot be read. The reader goes on with the line after it."""
    rows = csv.reader(StringIO(text))
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


def _children(content: str, segmentation: Segmentation | None) -> list[str]:
    if segmentation is None:
        return []
    return [child.content for child in with_children(Piece(1, content, text_hash(content)), segmentation).children]
