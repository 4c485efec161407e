"""Yields the blocks of Markdown: paragraphs, headings, items of lists, rows of tables, code.

A parser of CommonMark reads them, section by section: it keeps many objects per line. A section that is a heading and
plain paragraphs, as most are, needs no parser.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from streams.dify.extraction.web.page import page_text

# The content of a paragraph stays as it is. So do definitions of links, which would vanish as references.
_PARSER = MarkdownIt("commonmark", {"maxNesting": 200}).enable("table").disable(["inline", "reference"])
_HEADING = re.compile(r"^(#{1,6})[ \t]", re.MULTILINE)
_PLAIN = r"(?![0-9]{1,9}[.)](?:[ \t]|$))[^\s#>*+\-_=~`<|:][^\n]*"
"""A line that begins a paragraph or goes on with it, whatever is around it."""
_SIMPLE = re.compile(
    rf"(?:#{{1,6}}[ \t]+[^\s#][^\n]*(?:\n|\Z))?(?:(?:{_PLAIN}|[ \t]*)\n)*(?:{_PLAIN}|[ \t]*)", re.MULTILINE
)
"""A heading and plain paragraphs, or one of both."""
_LEAST = 2_000
"""Characters that the parser gets at once, at least: a call costs as much as some lines."""
_CLOSING_MARKS = re.compile(r"[ \t]+#+[ \t]*\Z")
_EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_COMPONENT = re.compile(r"<[A-Z][a-z][^<>]*=")
"""A component of MDX with attributes. Tags of HTML are small, or capital throughout."""
_END = "\ufdd0"
"""The text of a heading that shows whether a section has ended: no character, so no file has it."""


class Block(NamedTuple):
    """A block without its marks."""

    text: str
    heading: int = 0
    """The level of a heading; 0: it is none. Headings within lists and quotes are none."""
    in_list: bool = False
    """Whether the block goes on with a list."""


def markdown_blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a text in order. The time is proportional to the text."""
    start = least = 0
    for heading in _HEADING.finditer(text):
        end = heading.start()
        if end == start or end < least:
            continue
        section = text[start:end]
        if _SIMPLE.fullmatch(section):
            yield from _simple_blocks(section)
        elif len(section) < _LEAST:
            continue
        else:
            tokens = _PARSER.parse(f"{section}# {_END}\n")
            if not _has_ended(tokens):
                # It is no heading: a line of code, or of HTML. A longer section is tried when it is twice as long.
                least = start + 2 * (end - start)
                continue
            yield from _parsed_blocks(tokens[:-3])
        start = end
    section = text[start:]
    yield from _simple_blocks(section) if _SIMPLE.fullmatch(section) else _parsed_blocks(_PARSER.parse(section))


def _has_ended(tokens: list[Token]) -> bool:
    """Return whether the line after a section is a heading of its own: no code, HTML or list goes on there."""
    return [token.type for token in tokens[-3:-1]] == ["heading_open", "inline"] and (
        tokens[-2].content == _END and tokens[-3].level == 0
    )


def _simple_blocks(section: str) -> Iterator[Block]:
    heading = _HEADING.match(section)
    if heading:
        line, _, section = section.partition("\n")
        yield Block(_CLOSING_MARKS.sub("", line[heading.end() :]).strip(), len(heading[1]))
    for paragraph in _EMPTY_LINES.split(f"\n{section}\n"):
        if shown := paragraph.strip():
            yield Block(shown)


def _parsed_blocks(tokens: list[Token]) -> Iterator[Block]:
    row: list[str] | None = None
    items = _ListItems()
    heading = 0
    for token in tokens:
        items.see(token)
        if token.type == "heading_open" and token.level == 0:
            heading = int(token.tag[1:])
        elif token.type == "tr_open":
            row = []
        elif token.type == "inline" and row is not None:
            row.append(token.content)
        else:
            if token.type == "tr_close" and row is not None:
                text = " | ".join(row)
                row = None
            else:
                text = _text(token)
            if text:
                placed, in_list = items.placed(text)
                yield Block(placed, heading, in_list)
                heading = 0


def _text(token: Token) -> str:
    if token.type == "html_block":
        # The words of a component are in its attributes: <Card title="Start here">.
        return token.content.strip() if _COMPONENT.search(token.content) else page_text(token.content)
    return token.content.strip("\n") if token.type in {"inline", "fence", "code_block"} else ""


class _ListItems:
    """Knows the list items that a block is in, and puts their marks before it."""

    def __init__(self) -> None:
        self._marks: list[str] = []
        self._pending: list[str] = []
        """The marks of items without a block yet."""
        self._begun = False
        """Whether a block of the outermost list has been placed."""

    def see(self, token: Token) -> None:
        """Note the start and the end of an item."""
        if token.type == "list_item_open":
            self._marks.append(f"{token.info}{token.markup} ")
            self._pending.append(self._marks[-1])
        elif token.type == "list_item_close":
            self._marks.pop()
            del self._pending[len(self._marks) :]
        elif token.level == 0:
            self._begun = False

    def placed(self, text: str) -> tuple[str, bool]:
        """Return a block with the marks before it, and whether the list has begun before."""
        if not self._marks:
            return text, False
        outer = self._marks[: len(self._marks) - len(self._pending)]
        first = "".join(" " * len(mark) for mark in outer) + "".join(self._pending)
        self._pending = []
        begun, self._begun = self._begun, True
        return first + text.replace("\n", "\n" + " " * len(first)), begun
