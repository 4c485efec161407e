"""Masks personal and secret values: marked fields where an event is shown, and their values in any other text.

Everything here is pure except for one context variable: the redactor for the events of the current task.
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
"""Characters. If this many consecutive characters of a marked value are in a text, they are masked."""
WORD_BELOW: Final = 4
"""A value with fewer characters is masked only where it is a whole word. One character is never masked: errors would
not be readable."""


def masked(fields: Mapping[str, object], marks: Marks) -> dict[str, object]:
    """Return the fields with `***` for each marked value of any length and type. Null stays null, lists stay lists."""
    return {name: _masked(value, marks.get(name), lambda _: MASK) for name, value in fields.items()}


def blanked(fields: Mapping[str, object], marks: Marks, only: Sensitivity) -> dict[str, object]:
    """Return the fields with neutral values of the same type in place of marked ones, so that they fit the schema.

    Args:
        fields: The event's fields.
        marks: The marks of the fields.
        only: The mark whose fields are replaced.
    """
    return {name: _masked(value, marks.get(name), _blank, only) for name, value in fields.items()}


def masked_event(event: BaseModel, exclude: set[str] | None = None) -> dict[str, object]:
    """Return an event for people and for JSON, with masked fields."""
    fields: dict[str, object] = event.model_dump(mode="json", exclude=exclude, warnings=False)
    marks = marks_of(type(event))
    return fields if marks is None else masked(fields, marks)


def marked_values(fields: Mapping[str, object], marks: Marks) -> Iterator[str]:
    """Yield the values of marked fields, as the texts that an error may contain."""
    for name, value in fields.items():
        yield from _values(value, marks.get(name))


class Redactor:
    """Masks marked values in texts. There is one per unit of work, so it reads the values only when needed."""

    def __init__(self, values: Callable[[], Iterable[str]]) -> None:
        self._find = values
        self._known: Sequence[str] | None = None

    @classmethod
    def of_fields(cls, fields: object, marks: Marks | None) -> "Redactor":
        """Return the redactor for the fields of an event. For anything else there are no values."""
        known = fields if isinstance(fields, Mapping) and marks is not None else {}
        return cls(lambda: marked_values(known, marks or {}))

    @classmethod
    def of_events(cls, events: Iterable[BaseModel]) -> "Redactor":
        """Return the redactor for the events of one unit of work."""

        def values() -> Iterator[str]:
            for event in events:
                if (marks := marks_of(type(event))) is not None:
                    yield from marked_values(event.model_dump(warnings=False), marks)

        return cls(values)

    def __call__(self, text: str) -> str:
        """Return the text without the values: it contains no `RUN` consecutive characters of any of them."""
        if self._known is None:
            self._known = sorted({_folded(form) for value in self._find() for form in _forms(value)})
        folded = _folded(text)
        ngrams = _ngrams(folded) if any(len(value) >= RUN for value in self._known) else {}
        spans = sorted(span for value in self._known for span in _spans(folded, ngrams, value))
        return _replace_spans(text, spans) if spans else text

    def redact_json(self, value: object) -> object:
        """Redact every text in a JSON value of a handler or a log line. Keys stay."""
        match value:
            case None | bool():
                return value
            case str():
                return self(value)
            case int() | float():
                redacted_text = self(str(value))
                return value if redacted_text == str(value) else redacted_text
            case Mapping():
                return {name: self.redact_json(inner) for name, inner in value.items()}
            case list() | tuple():
                return [self.redact_json(inner) for inner in value]
            case _:
                return self(str(value))


_bound: ContextVar[Redactor | None] = ContextVar("redactor", default=None)


def bind_redactor(redactor: Redactor | None) -> None:
    """Redact all texts of this task from now on. None: its events have no marked fields."""
    _bound.set(redactor)


def current_redactor() -> Redactor | None:
    """Return the current task's redactor, if its events have marked fields."""
    return _bound.get()


def redacted(text: str) -> str:
    """Return a text redacted for the current task."""
    redactor = _bound.get()
    return text if redactor is None else redactor(text)


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


def _forms(value: str) -> Iterator[str]:
    """Yield the forms of a value in the text of an error: unchanged, in one line, in a repr, in JSON, in a URL."""
    yield from (value, " ".join(value.split()), repr(value)[1:-1], json.dumps(value)[1:-1])
    with_surrogates = value.encode(errors="replace").decode()
    yield from (quote(with_surrogates), quote_plus(with_surrogates))


def _folded(text: str) -> str:
    """Return the text in lower case, character by character, so that positions stay the same."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(one if len(small := one.lower()) != 1 else small for one in text)


def _ngrams(text: str) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for start in range(len(text) - RUN + 1):
        places.setdefault(text[start : start + RUN], []).append(start)
    return places


def _spans(text: str, ngrams: Mapping[str, Sequence[int]], value: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of the value, or of long enough parts of it, in the text."""
    if len(value) >= RUN:
        for start in range(len(value) - RUN + 1):
            for place in ngrams.get(value[start : start + RUN], ()):
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


def _replace_spans(text: str, spans: Sequence[tuple[int, int]]) -> str:
    parts: list[str] = []
    end = 0
    for start, stop in spans:
        if start > end or not parts:
            parts += [text[end:start], MASK]
        end = max(end, stop)
    return "".join((*parts, text[end:]))
