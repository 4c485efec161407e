"""Where the segments of an indexing are in their file: page, row, headings. Their vectors show it in their metadata."""

import json
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping

from streams.dify.ids import storable
from streams.dify.indexing.segment_rows import NewChild, NewSegment

KEYS = frozenset({"headings", "page", "part", "row", "sheet", "slide"})
"""The keys of a part's place. No other key reaches the metadata of a vector."""
_LONGEST = 500
"""Characters of a text of a place, such as a path of headings."""


class Places:
    """The places of segments, by position. Neighbours of the same part share one entry."""

    def __init__(self) -> None:
        self._first = array("q")
        self._places: list[str] = []

    def add(self, position: int, place: Mapping[str, object]) -> None:
        """Record the place of a segment. Positions must come in order. Unknown keys and other values are left out."""
        text = json.dumps({key: _short(value) for key, value in place.items() if _is_known(key, value)})
        if text != (self._places[-1] if self._places else "{}"):
            self._first.append(position)
            self._places.append(text)

    def noting(self, rows: Iterable[NewSegment | NewChild]) -> Iterator[NewSegment | NewChild]:
        """Yield the rows, and record the places of the segments."""
        for row in rows:
            if isinstance(row, NewSegment):
                self.add(row.position, row.place)
            yield row

    def at(self, position: int | None) -> Mapping[str, str | int]:
        """Return the place of a segment. Empty: it has none."""
        index = bisect_right(self._first, position) - 1 if position is not None else -1
        found: dict[str, str | int] = json.loads(self._places[index]) if index >= 0 else {}
        return found


def _is_known(key: str, value: object) -> bool:
    return key in KEYS and isinstance(value, (str, int)) and not isinstance(value, bool)


def _short(value: object) -> object:
    return storable(value)[:_LONGEST] if isinstance(value, str) else value
