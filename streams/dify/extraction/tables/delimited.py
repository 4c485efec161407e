"""Reads CSV files: finds their separator, and skips what Excel does not show."""

import csv
import re
from collections.abc import Iterator
from io import StringIO
from itertools import islice

from streams.dify.errors import ExtractionError
from streams.dify.extraction.bounds import within_length
from streams.dify.extraction.plain import plain_text
from streams.dify.extraction.result import Extracted
from streams.dify.extraction.tables.rows import COLON_FORMAT, Row, row_parts

MAX_FIELD = 10 * 1024 * 1024
"""Characters of one field."""
_SEPARATORS = (",", ";", "\t", "|")
_HINT = re.compile(r'\A\s*"?sep=([^"\n])"?[,;\t]*\n', re.IGNORECASE)
"""The line by which Excel tells itself the separator. It does not show it."""
_SAMPLE_LINES = 20


def csv_content(content: bytes) -> Extracted:
    """Return ``column: value;column: value``, one part per row. Raises ExtractionError."""
    text = plain_text(content)
    csv.field_size_limit(MAX_FIELD)
    hint = _HINT.match(text)
    if hint:
        text = text[hint.end() :]
    separator = hint[1] if hint else _separator(text)
    try:
        return Extracted(tuple(within_length(row_parts(_rows(text, separator), COLON_FORMAT))))
    except csv.Error as error:
        message = f"the CSV file is damaged: {error}"
        raise ExtractionError(message) from error


def _rows(text: str, separator: str) -> Iterator[Row]:
    for number, values in enumerate(csv.reader(StringIO(text), delimiter=separator), start=1):
        yield Row(number, values)


def _separator(text: str) -> str:
    """Return the separator that cuts most of the first lines into the same number of fields, two at least."""
    sample = list(islice((line for line in StringIO(text) if line.strip()), _SAMPLE_LINES))
    return max(_SEPARATORS, key=lambda separator: _fit(sample, separator))


def _fit(sample: list[str], separator: str) -> tuple[int, int]:
    """Return how many rows have the most usual number of fields, and that number; (0, 0): there is one field only."""
    try:
        widths = [len(row) for row in csv.reader(sample, delimiter=separator) if row]
    except csv.Error:
        return 0, 0
    counts = {width: widths.count(width) for width in widths if width > 1}
    return max(((count, width) for width, count in counts.items()), default=(0, 0))
