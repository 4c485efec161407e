"""Reads CSV files: finds their separator, and skips what Excel does not show."""

import csv
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import islice
from typing import NamedTuple

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
    form = _form(text, (hint[1],) if hint else _SEPARATORS)
    try:
        return Extracted(tuple(within_length(row_parts(_rows(text, form), COLON_FORMAT))))
    except csv.Error as error:
        message = f"the CSV file is damaged: {error}"
        raise ExtractionError(message) from error


class _Form(NamedTuple):
    separator: str
    spaced: bool
    """Whether a blank may stand between a separator and a quotation mark, as people write it by hand."""


def _rows(text: str, form: _Form) -> Iterator[Row]:
    rows = csv.reader(StringIO(text), delimiter=form.separator, skipinitialspace=form.spaced)
    for number, values in enumerate(rows, start=1):
        yield Row(number, values)


def _form(text: str, separators: Iterable[str]) -> _Form:
    """Return the form that cuts most of the first lines into the same number of fields, two at least."""
    sample = list(islice((line for line in StringIO(text) if line.strip()), _SAMPLE_LINES))
    forms = (_Form(separator, _is_spaced(sample, separator)) for separator in separators)
    return max(forms, key=lambda form: _fit(sample, form))


def _is_spaced(sample: list[str], separator: str) -> bool:
    """Return whether a whole quoted field stands after a blank, and no quotation mark there runs on over lines."""
    quoted = re.compile(rf'{re.escape(separator)} +"[^"\n]*"\s*(?:{re.escape(separator)}|$)')
    spaced, plain = (_fit(sample, _Form(separator, one))[0] for one in (True, False))
    return spaced >= plain and any(map(quoted.search, sample))


def _fit(sample: list[str], form: _Form) -> tuple[int, int]:
    """Return how many rows have the most usual number of fields, and that number; (0, 0): there is one field only."""
    try:
        rows = csv.reader(sample, delimiter=form.separator, skipinitialspace=form.spaced)
        widths = [len(row) for row in rows if row]
    except csv.Error:
        return 0, 0
    counts = {width: widths.count(width) for width in widths if width > 1}
    return max(((count, width) for width, count in counts.items()), default=(0, 0))
