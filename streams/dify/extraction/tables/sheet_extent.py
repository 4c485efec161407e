"""Bounds the rectangle that contains the cells of a sheet, for a reader that lays it out in memory."""

from collections.abc import Iterable

from lxml import etree

from streams.dify.errors import ExtractionError

MAX_RECTANGLE = 4_000_000
"""Cells, the empty ones included: about 100 MB."""


def check_extent(sheet: Iterable[bytes]) -> None:
    """Raise ExtractionError if the cells of a sheet, given by its XML, need a larger rectangle than is allowed."""
    extent = _Extent()
    # lxml calls only the methods that a target has; its stubs demand all of them.
    parser = etree.XMLParser(target=extent, resolve_entities=False, no_network=True)  # type: ignore[arg-type]
    for chunk in sheet:
        parser.feed(chunk)
    if extent.rows * extent.columns > MAX_RECTANGLE:
        message = (
            f"the cells of a sheet lie in {extent.rows:,} rows and {extent.columns:,} columns, and the workbook cannot "
            "be read row by row; save it as a normal Excel workbook (xlsx)"
        )
        raise ExtractionError(message)


class _Extent:
    """The target of a parser: the largest row and the largest column so far."""

    def __init__(self) -> None:
        self.rows = self.columns = 0
        self._row = self._column = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        place = attributes.get("r", "")
        if name == "row":
            self._row = int(place) if place.isdecimal() else self._row + 1
            self._column = 0
        elif name == "c":
            letters = place.rstrip("0123456789")
            self._column = _column_number(letters) if letters else self._column + 1
            row = place[len(letters) :]
            self._row = int(row) if row else self._row
        self.rows, self.columns = max(self.rows, self._row), max(self.columns, self._column)

    def close(self) -> None:
        """End the parsing: the parser calls it."""


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters[:4].upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number
