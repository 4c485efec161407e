"""The layout of the `show` commands: one line per field, and blocks of several lines."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from streams.cli.cells import format_cell
from streams.cli.screen import Screen
from streams.cli.tables import GAP
from streams.cli.times import absolute, relative
from streams.observability.printable import escape_line, escape_lines

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Block:
    """A text of several lines under a title, such as a stack trace."""

    title: str
    text: str
    wraps: bool = False
    """Whether long lines are wrapped between words on a terminal."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Names and values under a title; a name may repeat."""

    pairs: Sequence[tuple[str, object]]
    title: str | None = None
    styles: Mapping[str, str] = field(default_factory=dict)
    """Colours by value."""


def detail_lines(sections: Sequence[Block | Fields], screen: Screen) -> list[Text]:
    """Format the sections as lines, with an empty line between two sections."""
    lines: list[Text] = []
    for section in sections:
        if lines:
            lines.append(Text())
        if isinstance(section, Block):
            lines.append(Text(section.title, style="bold"))
            text = section.text.rstrip("\n")
            parts = value_lines(text, screen, screen.width - len(INDENT)) if section.wraps else escape_lines(text)
            lines += [Text(INDENT + part if part else "") for part in parts]
        else:
            lines += _fields(section, screen)
    return lines


def _fields(section: Fields, screen: Screen) -> list[Text]:
    lines = [Text(section.title, style="bold")] if section.title else []
    start = INDENT if section.title else ""
    names = [escape_line(name) for name, _ in section.pairs]
    column = max((cell_len(name) for name in names), default=0)
    margin = len(start) + column + GAP
    for name, (_, value) in zip(names, section.pairs, strict=True):
        first, *more = value_lines(value, screen, max(20, screen.width - margin))
        head = Text(start + name, style="" if section.title else "bold")
        blanks = " " * (column - cell_len(name) + GAP)
        lines.append(Text.assemble(head, blanks, Text(first, style=section.styles.get(first, ""))))
        lines += [Text(" " * margin + line) for line in more]
    return lines


def value_lines(value: object, screen: Screen, width: int) -> list[str]:
    """Format a value as lines. On a terminal a line longer than `width` cells is wrapped between words."""
    match value:
        case datetime():
            at = absolute(value)
            return [f"{at} ({relative(value, screen.now)})" if screen.is_terminal else at]
        case dict() | list():
            compact = format_cell(value, screen)
            if screen.shows_everything or cell_len(compact) <= width:
                return [compact]
            return escape_lines(json.dumps(value, ensure_ascii=False, indent=2, default=str))
        case str() if value:
            lines = escape_lines(value.rstrip("\n"))
            return lines if screen.shows_everything else [part for line in lines for part in _wrapped(line, width)]
        case _:
            return [format_cell(value, screen)]


def _wrapped(line: str, width: int) -> list[str]:
    """Wrap a line between words, never inside a word."""
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False, drop_whitespace=True) or [""]
