"""The output of `dlq show`: the dead letter's fields, error, stack trace, event and headers."""

import json
from collections.abc import Mapping

from rich.text import Text

from streams import headers
from streams.cli.details import Block, Fields, detail_lines
from streams.cli.screen import Screen

MAX_VALUE_CHARS = 1_000
"""Characters of a record's value that are shown on a terminal."""
_STACKS = (headers.DLQ_EXCEPTION_STACKTRACE, headers.SPRING_EXCEPTION_STACKTRACE)


def dead_letter_page(shown: Mapping[str, object], screen: Screen) -> list[Text]:
    """Return the lines of a dead letter. The error and the stack trace are shown once: several headers have them.

    Args:
        shown: The dead letter's fields with the content of its record.
        screen: Where the lines are shown.
    """
    pairs = _header_pairs(shown["headers"])
    error = str(shown["error_message"])
    stack = next((str(value) for name, value in pairs if name in _STACKS and value), None)
    apart = {"error_message", "event", "headers", "value"}
    sections: list[Block | Fields] = [
        Fields([(name, value) for name, value in shown.items() if name not in apart]),
        Block("error", error, wraps=True),
    ]
    if stack:
        sections.append(Block("stack", stack))
    if shown["event"] is not None:
        sections.append(Block("event", json.dumps(shown["event"], indent=2, ensure_ascii=False)))
    if shown["value"] is not None:
        sections.append(Block("value", _value(str(shown["value"]), screen)))
    sections.append(Fields([(name, _header_value(value, error, stack)) for name, value in pairs], "headers"))
    return detail_lines(sections, screen)


def _value(value: str, screen: Screen) -> str:
    """Return the record's value. On a terminal a long value is cut, since it would fill many screens."""
    if screen.shows_everything or len(value) <= MAX_VALUE_CHARS:
        return value
    return f"{value[:MAX_VALUE_CHARS]}…\n{len(value)} characters; --wide shows all of them"


def _header_value(value: object, error: str, stack: str | None) -> object:
    """Return a header's value, or a reference if the value is the error or the stack trace shown above."""
    if value and value == stack:
        return "(see the stack above)"
    return "(see the error above)" if value and value == error else value


def _header_pairs(found: object) -> list[tuple[str, object]]:
    return [(str(name), value) for name, value in found] if isinstance(found, list) else []
