"""One thing in full, as `show` prints it: a line for each field, and texts of several lines as they are."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from streams.cli.cells import cell
from streams.cli.printable import lines_of, one_line
from streams.cli.screen import Screen
from streams.cli.tables import GAP
from streams.cli.times import absolute, relative

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Block:
    """A text of several lines under a title, such as a stack."""

    title: str
    text: str
    wraps: bool = False
    """It is prose: on a terminal its lines are broken between words."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Names and values under a title; a name may repeat."""

    pairs: Sequence[tuple[str, object]]
    title: str | None = None
    styles: Mapping[str, str] = field(default_factory=dict)
    """Colours by value."""


def details(sections: Sequence[Block | Fields], screen: Screen) -> list[Text]:
    """The sections as lines, an empty line between two of them."""
    lines: list[Text] = []
    for section in sections:
        if lines:
            lines.append(Text())
        if isinstance(section, Block):
            lines.append(Text(section.title, style="bold"))
            text = section.text.rstrip("\n")
            parts = value_lines(text, screen, screen.width - len(INDENT)) if section.wraps else lines_of(text)
            lines += [Text(INDENT + part if part else "") for part in parts]
        else:
            lines += _fields(section, screen)
    return lines


def _fields(section: Fields, screen: Screen) -> list[Text]:
    lines = [Text(section.title, style="bold")] if section.title else []
    start = INDENT if section.title else ""
    names = [one_line(name) for name, _ in section.pairs]
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
    """A value as lines of at most `width` cells where it has a blank to break at; in a pipe as it is."""
    match value:
        case datetime():
            at = absolute(value)
            return [f"{at} ({relative(value, screen.now)})" if screen.terminal else at]
        case dict() | list():
            compact = cell(value, screen)
            if screen.is_whole or cell_len(compact) <= width:
                return [compact]
            return lines_of(json.dumps(value, ensure_ascii=False, indent=2, default=str))
        case str() if value:
            lines = lines_of(value.rstrip("\n"))
            return lines if screen.is_whole else [part for line in lines for part in _wrapped(line, width)]
        case _:
            return [cell(value, screen)]


def _wrapped(line: str, width: int) -> list[str]:
    """A line broken between words, never within one."""
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False, drop_whitespace=True) or [""]
