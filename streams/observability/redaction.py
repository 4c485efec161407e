"""What must not be told is masked: marked fields where an event is shown, their values where something is told of it.

Pure but for one context variable: the marked values of the events that the current task works on.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, date, datetime, time
from typing import Final
from urllib.parse import quote, quote_plus
from uuid import UUID

from pydantic import BaseModel

from schemas.sensitivity import Marks, Sensitivity, marks_of

MASK: Final = "***"
RUN: Final = 8
"""Characters: a run of a marked value that is as long is masked in texts, wherever the value begins and ends."""
WORD_BELOW: Final = 4
"""A value with fewer characters is masked in texts only where it stands as a word, and with one character never:
errors would be unreadable."""


def masked(fields: Mapping[str, object], marks: Marks) -> dict[str, object]:
    """The fields with `***` in place of what is marked, whatever its length and type. Null stays null, lists lists."""
    return {name: _masked(value, marks.get(name), lambda _: MASK) for name, value in fields.items()}


def blanked(fields: Mapping[str, object], marks: Marks, only: Sensitivity) -> dict[str, object]:
    """As `masked`, for the fields marked so, with values that keep their type: what the schema took, it takes again."""
    return {name: _masked(value, marks.get(name), _blank, only) for name, value in fields.items()}


def masked_event(event: BaseModel, exclude: set[str] | None = None) -> dict[str, object]:
    """An event for people and for JSON, its marked fields masked."""
    fields: dict[str, object] = event.model_dump(mode="json", exclude=exclude, warnings=False)
    marks = marks_of(type(event))
    return fields if marks is None else masked(fields, marks)


def marked_values(fields: Mapping[str, object], marks: Marks) -> Iterator[str]:
    """The values of marked fields as the texts that an error may repeat."""
    for name, value in fields.items():
        yield from _values(value, marks.get(name))


class Redactor:
    """Masks marked values in texts. Made for each unit of work, so the values are asked for when they are needed."""

    def __init__(self, values: Callable[[], Iterable[str]]) -> None:
        self._find = values
        self._known: Sequence[str] | None = None

    @classmethod
    def of_fields(cls, fields: object, marks: Marks | None) -> "Redactor":
        """For what may be an event's fields; anything else has no values."""
        known = fields if isinstance(fields, Mapping) and marks is not None else {}
        return cls(lambda: marked_values(known, marks or {}))

    @classmethod
    def of_events(cls, events: Iterable[BaseModel]) -> "Redactor":
        """For events of one unit of work."""

        def values() -> Iterator[str]:
            for event in events:
                if (marks := marks_of(type(event))) is not None:
                    yield from marked_values(event.model_dump(warnings=False), marks)

        return cls(values)

    def __call__(self, text: str) -> str:
        """The text without the values: no run of `RUN` characters of one is left in it."""
        if self._known is None:
            self._known = sorted({_folded(way) for value in self._find() for way in _spellings(value)})
        folded = _folded(text)
        grams = _grams(folded) if any(len(value) >= RUN for value in self._known) else {}
        spans = sorted(span for value in self._known for span in _found(folded, grams, value))
        return _without(text, spans) if spans else text

    def inside(self, value: object) -> object:
        """As of a text, for every text in what a handler or a log line gives as JSON; keys stay."""
        match value:
            case None | bool():
                return value
            case str():
                return self(value)
            case int() | float():
                told = self(str(value))
                return value if told == str(value) else told
            case Mapping():
                return {name: self.inside(inner) for name, inner in value.items()}
            case list() | tuple():
                return [self.inside(inner) for inner in value]
            case _:
                return self(str(value))


_bound: ContextVar[Redactor | None] = ContextVar("scrub", default=None)


def bind_scrub(scrub: Redactor | None) -> None:
    """Whatever this task tells from now on goes through it; None: nothing that it works on is marked."""
    _bound.set(scrub)


def bound_scrub() -> Redactor | None:
    """The current task's, if what it works on has marked fields."""
    return _bound.get()


def scrubbed(text: str) -> str:
    """A text as the current task may tell it."""
    scrub = _bound.get()
    return text if scrub is None else scrub(text)


def _masked(
    value: object,
    mark: Sensitivity | Marks | None,
    mask: Callable[[object], object],
    only: Sensitivity | None = None,
) -> object:
    if mark is None or value is None:
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(inner, mark, mask, only) for inner in value]
    if isinstance(mark, Sensitivity):
        return mask(value) if only is None or mark is only else value
    if isinstance(value, Mapping):
        return {name: _masked(inner, mark.get(name), mask, only) for name, inner in value.items()}
    return value


def _blank(value: object) -> object:
    blanks: dict[type, object] = {
        str: MASK,
        bytes: MASK.encode(),
        bool: False,
        int: 0,
        float: 0.0,
        datetime: datetime.fromtimestamp(0, tz=UTC),
        date: date(1970, 1, 1),
        time: time(0),
        UUID: UUID(int=0),
    }
    if isinstance(value, Mapping):
        return {name: _blank(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_blank(inner) for inner in value]
    return blanks.get(type(value), MASK)


def _values(value: object, mark: Sensitivity | Marks | None) -> Iterator[str]:
    if mark is None or value is None or isinstance(value, bool):
        return
    if isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _values(inner, mark)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _values(inner, mark if isinstance(mark, Sensitivity) else mark.get(name))
    elif isinstance(mark, Sensitivity):
        if isinstance(value, bytes):
            yield from (value.decode(errors="replace"), value.hex())
        elif isinstance(value, datetime | date):
            yield from (str(value), value.isoformat())
        else:
            yield str(value)


def _spellings(value: str) -> Iterator[str]:
    """How a value comes in the text of an error: as it is, in one line, in a repr, in JSON, in an address."""
    yield from (value, " ".join(value.split()), repr(value)[1:-1], json.dumps(value)[1:-1])
    with_surrogates = value.encode(errors="replace").decode()
    yield from (quote(with_surrogates), quote_plus(with_surrogates))


def _folded(text: str) -> str:
    """In lower case, character by character, so that places in it are places in the text."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(one if len(small := one.lower()) != 1 else small for one in text)


def _grams(text: str) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for start in range(len(text) - RUN + 1):
        places.setdefault(text[start : start + RUN], []).append(start)
    return places


def _found(text: str, grams: Mapping[str, Sequence[int]], value: str) -> Iterator[tuple[int, int]]:
    """Where the value, or a part of it that is long enough to count, is in the text."""
    if len(value) >= RUN:
        for start in range(len(value) - RUN + 1):
            for place in grams.get(value[start : start + RUN], ()):
                yield place, place + RUN
    elif len(value) >= WORD_BELOW:
        yield from _occurrences(text, value)
    elif len(value) > 1:
        for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text):
            yield match.span()


def _occurrences(text: str, value: str) -> Iterator[tuple[int, int]]:
    place = text.find(value)
    while place >= 0:
        yield place, place + len(value)
        place = text.find(value, place + 1)


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    parts: list[str] = []
    end = 0
    for start, stop in spans:
        if start > end or not parts:
            parts += [text[end:start], MASK]
        end = max(end, stop)
    return "".join((*parts, text[end:]))
