"""Reads Markdown: one part per section, blocks without their marks. Inline marks, links and lists stay as they are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

from streams.dify.extraction.plain import plain_text
from streams.dify.extraction.result import Extracted, Part
from streams.dify.extraction.web.page import page_text

# The content of a paragraph stays as it is. So do definitions of links, which would vanish as references.
_PARSER = MarkdownIt("commonmark", {"maxNesting": 200}).enable("table").disable(["inline", "reference"])
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n((?:.*\n)*?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_YAML_LINE = re.compile(r"[\w\"'.$@/ -]+:(?:\s|$)|[ \t]*-(?:\s|$)|[ \t]+\S|[ \t]*#|[ \t]*$|[\]}]")
_YAML_KEY = re.compile(r"[\w\"'.$@/ -]+:(?:\s|$)")
_PATH_PART = 200
"""Characters of a heading in the path of headings."""


def markdown_text(content: bytes) -> Extracted:
    """Return a part for each section, with its heading, and before them the front matter. Raises ExtractionError.

    A heading that another one follows at once stands in the section of that one.
    """
    text = plain_text(content)
    matter = _front_matter(text)
    first = [Part(matter.strip())] if matter else []
    return Extracted((*first, *_sections(_PARSER.parse(text[len(matter) :]))))


def _front_matter(text: str) -> str:
    """Return the YAML at the start of a text with its marks; nothing if there are only rules at the start."""
    found = _FRONT_MATTER.match(text)
    if not found:
        return ""
    lines = found[1].splitlines()
    is_yaml = any(map(_YAML_KEY.match, lines)) and all(map(_YAML_LINE.match, lines))
    return found[0] if is_yaml else ""


@dataclass(slots=True)
class _Section:
    """A section while it is read."""

    path: list[tuple[int, str]] = field(default_factory=list)
    """Level and text of the headings that it is under."""
    blocks: list[str] = field(default_factory=list)
    has_body: bool = False

    def add(self, block: str, *, in_list: bool) -> None:
        """Add a block. Those of a list stand on lines that follow each other."""
        if self.blocks:
            self.blocks.append("\n" if in_list else "\n\n")
        self.blocks.append(block)

    def part(self) -> Part:
        """Return the section as a part."""
        path = " > ".join(heading[:_PATH_PART] for _, heading in self.path)
        return Part("".join(self.blocks), {"headings": path} if path else {})


def _sections(tokens: list[Token]) -> Iterator[Part]:
    section = _Section()
    level = None
    for token, block, in_list in _blocks(tokens):
        if token.type == "heading_open":
            level = int(token.tag[1:])
            continue
        if level is None:
            section.add(block, in_list=in_list)
            section.has_body = True
            continue
        # The text of a heading.
        deeper = bool(section.path) and level > section.path[-1][0]
        path = [step for step in section.path if step[0] < level]
        if section.has_body or not deeper:
            if section.blocks:
                yield section.part()
            section = _Section()
        section.path = [*path, (level, " ".join(block.split()))]
        section.add(block, in_list=False)
        level = None
    if section.blocks:
        yield section.part()


def _blocks(tokens: list[Token]) -> Iterator[tuple[Token, str, bool]]:
    """Yield the blocks, and whether each goes on with a list. Headings within lists and quotes are no sections."""
    row: list[str] | None = None
    items = _ListItems()
    for token in tokens:
        items.see(token)
        if token.type == "heading_open" and token.level == 0:
            yield token, "", False
        elif token.type == "tr_open":
            row = []
        elif token.type == "inline" and row is not None:
            row.append(token.content)
        else:
            if token.type == "tr_close" and row is not None:
                block = " | ".join(row)
                row = None
            else:
                block = _block(token)
            if block:
                yield token, *items.placed(block)


def _block(token: Token) -> str:
    if token.type == "html_block":
        return page_text(token.content)
    return token.content.strip("\n") if token.type in {"inline", "fence", "code_block"} else ""


class _ListItems:
    """Knows the list items that a block is in, and puts their marks before it."""

    def __init__(self) -> None:
        self._marks: list[str] = []
        self._pending: list[str] = []
        """The marks of items without a block yet."""
        self._indent = ""
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

    def placed(self, block: str) -> tuple[str, bool]:
        """Return a block with the marks before it, and whether the list has begun before."""
        if not self._marks:
            return block, False
        outer = self._marks[: len(self._marks) - len(self._pending)]
        first = "".join(" " * len(mark) for mark in outer) + "".join(self._pending)
        self._pending = []
        begun, self._begun = self._begun, True
        return first + block.replace("\n", "\n" + " " * len(first)), begun
