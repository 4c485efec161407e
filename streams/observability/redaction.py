"""Masks personal and secret values: marked fields where an event is shown, and their values in any other text.

Everything here is pure except for one context variable: the redactor for the events of the current task.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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
MAX_TEXT: Final = 65_536
"""Characters of a text that are kept. Errors and log lines are cut to much less anyway."""
MAX_VALUES: Final = 262_144
"""Characters of all marked values of a unit of work. With more, its texts are masked completely, not searched."""
_WORD = re.compile(r"\w")


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
    """Masks marked values in texts. There is one per unit of work, so it reads the values only when needed.

    Time and memory grow with the lengths of the text and of the values, not with their product.
    """

    def __init__(self, values: Callable[[], Iterable[str]]) -> None:
        self._find = values
        self._parts: Mapping[int, set[str]] | None = None
        """Short values, and all runs of the longer ones, by length. None: not read yet."""
        self._masks_all = False

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
        """Return the text without the values: it contains no `RUN` consecutive characters of any of them.

        Of a text with more than `MAX_TEXT` characters, the end is left out.
        """
        if self._parts is None:
            self._read_values()
        if self._masks_all:
            return MASK
        start = text[:MAX_TEXT]
        covered = _covered(_folded(start), self._parts or {})
        if len(text) > MAX_TEXT:  # the last characters may be the beginning of a value
            return _with_masks(start[:-RUN], covered) + "…"
        return _with_masks(text, covered) if any(covered) else text

    def _read_values(self) -> None:
        length, parts = 0, dict[int, set[str]]()
        for value in self._find():
            length += len(value)
            if length > MAX_VALUES:
                self._parts, self._masks_all = {}, True
                return
            for form in {_folded(form) for form in _forms(value)}:
                size = min(len(form), RUN)
                if size > 1:
                    parts.setdefault(size, set()).update(form[at : at + size] for at in range(len(form) - size + 1))
        self._parts = parts

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


def _covered(text: str, parts: Mapping[int, set[str]]) -> bytearray:
    """Return one byte per character: 1 if it belongs to a value."""
    covered = bytearray(len(text))
    for size, known in parts.items():
        mark = b"\x01" * size
        for at in range(len(text) - size + 1):
            if text[at : at + size] in known and (size >= WORD_BELOW or _is_word(text, at, at + size)):
                covered[at : at + size] = mark
    return covered


def _is_word(text: str, start: int, end: int) -> bool:
    """Return True if no letter, digit or underscore is next to a part of the text."""
    return not (_WORD.match(text[start - 1]) if start else None) and not _WORD.match(text, end)


def _with_masks(text: str, covered: bytearray) -> str:
    """Return the text with one mask for each sequence of covered characters."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        is_value = covered[at]
        end = covered.find(1 - is_value, at, len(text))
        end = len(text) if end < 0 else end
        parts.append(MASK if is_value else text[at:end])
        at = end
    return "".join(parts)
