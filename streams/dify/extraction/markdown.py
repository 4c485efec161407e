"""Reads Markdown: one part per section, blocks without their marks. Inline marks, links and lists stay as they are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from streams.dify.extraction.markdown_blocks import markdown_blocks
from streams.dify.extraction.plain import plain_text
from streams.dify.extraction.result import Extracted, Part

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
    return Extracted((*first, *_sections(text[len(matter) :])))


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


def _sections(text: str) -> Iterator[Part]:
    section = _Section()
    for block in markdown_blocks(text):
        if not block.heading:
            section.add(block.text, in_list=block.in_list)
            section.has_body = True
            continue
        deeper = bool(section.path) and block.heading > section.path[-1][0]
        path = [step for step in section.path if step[0] < block.heading]
        if section.has_body or not deeper:
            if section.blocks:
                yield section.part()
            section = _Section()
        section.path = [*path, (block.heading, " ".join(block.text.split()))]
        section.add(block.text, in_list=False)
    if section.blocks:
        yield section.part()
