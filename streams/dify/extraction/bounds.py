"""The limits of a file's content, whatever its size. Beyond one of them the file is rejected."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from typing import TypeVar

from streams.dify.errors import ExtractionError
from streams.dify.extraction.result import Part

MAX_CHARACTERS = 100_000_000
"""Of the text of a file."""
MAX_CELLS = 10_000_000
"""Of all sheets of a workbook, the empty cells before a filled one included. A row counts as one cell at least."""
MAX_HEADER = 4096
"""Characters of one header line of an e-mail. The rest is cut off."""
MAX_IMAGE_BYTES = 20 * 1024 * 1024
MAX_IMAGES_BYTES = 100 * 1024 * 1024
"""Of all images of a document together."""
MAX_IMAGES = 1000

T = TypeVar("T")


def within_characters(parts: Iterable[str]) -> Iterator[str]:
    """Yield the parts. Raises ExtractionError as soon as they have more than `MAX_CHARACTERS` together."""
    characters = 0
    for part in parts:
        characters += len(part)
        if characters > MAX_CHARACTERS:
            message = f"the file has more than {MAX_CHARACTERS:,} characters of text; split it into several files"
            raise ExtractionError(message)
        yield part


def within_length(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield the parts of a file. Raises ExtractionError as soon as their texts exceed `MAX_CHARACTERS` together."""
    kept, counted = tee(parts)
    texts = within_characters(part.text for part in counted)
    for part in kept:
        next(texts)
        yield part


class CellBudget:
    """Counts the cells of a workbook over all of its sheets."""

    def __init__(self) -> None:
        self._cells = 0

    def within(self, rows: Iterable[Sequence[T]]) -> Iterator[Sequence[T]]:
        """Yield the rows of a sheet. Raises ExtractionError as soon as the workbook has more than `MAX_CELLS`."""
        for row in rows:
            self._cells += max(len(row), 1)
            if self._cells > MAX_CELLS:
                message = f"the workbook has more than {MAX_CELLS:,} cells; split it into several files"
                raise ExtractionError(message)
            yield row
