"""Reads Markdown: blocks without their marks. Inline marks, links and images stay, as on the platform."""

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from streams.dify.extraction.plain import plain_text
from streams.dify.extraction.web.page import page_text


def markdown_text(content: bytes) -> str:
    """Return the blocks with blank lines between them, and each table row as one line. Raises ExtractionError."""
    tokens = MarkdownIt("commonmark").enable("table").parse(_without_front_matter(plain_text(content)))
    return "\n\n".join(block for block in _blocks(tokens) if block)


def _without_front_matter(text: str) -> str:
    return re.sub(r"\A---\n.*?\n---(?:\n|\Z)", "", text, count=1, flags=re.DOTALL)


def _blocks(tokens: list[Token]) -> Iterator[str]:
    row: list[str] | None = None
    for token in tokens:
        if token.type == "tr_open":
            row = []
        elif token.type == "tr_close" and row is not None:
            yield " | ".join(row)
            row = None
        elif token.type == "inline" and row is not None:
            row.append(token.content)
        elif token.type == "html_block":
            yield page_text(token.content)
        elif token.type in {"inline", "fence", "code_block"}:
            yield token.content.rstrip("\n")
