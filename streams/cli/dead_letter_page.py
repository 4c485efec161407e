"""The page of a dead letter: what failed and where, its stack, the event, and the record's headers, each once."""

import json
from collections.abc import Mapping

from rich.text import Text

from streams import headers
from streams.cli.details import Block, Fields, details
from streams.cli.screen import Screen

SHOWN_OF_VALUE = 1_000
"""Characters of a record's value that a terminal shows."""
_STACKS = (headers.DLQ_EXCEPTION_STACKTRACE, headers.SPRING_EXCEPTION_STACKTRACE)


def letter_page(shown: Mapping[str, object], screen: Screen) -> list[Text]:
    """A dead letter for people: its fields, what failed, the event, and the record's headers, each once."""
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
    sections.append(Fields([(name, _once(value, error, stack)) for name, value in pairs], "headers"))
    return details(sections, screen)


def _value(value: str, screen: Screen) -> str:
    """The record's value; on a terminal only the beginning of a long one, which would fill many screens."""
    if screen.is_whole or len(value) <= SHOWN_OF_VALUE:
        return value
    return f"{value[:SHOWN_OF_VALUE]}…\n{len(value)} characters: all of them with --wide"


def _once(value: object, error: str, stack: str | None) -> object:
    """A header's value, or where it stands already: the error and the stack are in several headers."""
    if value and value == stack:
        return "(see the stack above)"
    return "(see the error above)" if value and value == error else value


def _header_pairs(found: object) -> list[tuple[str, object]]:
    return [(str(name), value) for name, value in found] if isinstance(found, list) else []
