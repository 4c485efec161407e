"""A file's bytes become its text: txt, Markdown, HTML."""

import re
from collections.abc import Callable, Iterator

from bs4 import BeautifulSoup
from bs4.builder import ParserRejectedMarkup
from bs4.dammit import EncodingDetector
from bs4.element import NavigableString
from markdown_it import MarkdownIt
from markdown_it.token import Token

from streams.dify.refusals import ExtractionError, NotBuiltYetError

_BLOCKS = [
    *("address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "figcaption", "figure", "footer", "form"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "header", "li", "main", "nav", "ol", "p", "pre", "section", "table", "title"),
    *("tr", "ul"),
]
_UNSEEN = ["script", "style", "template", "noscript"]
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def extract(content: bytes, extension: str) -> str:
    """The text of a file; the extension is with or without its dot, in any case.

    Raises ExtractionError where there is no text to be had, NotBuiltYetError for other kinds of files.
    """
    kind = extension.lower().removeprefix(".")
    reader = _READERS.get(kind)
    if reader is None:
        message = f"files of type {kind or 'unknown'} are not built yet; there are {', '.join(sorted(_READERS))}"
        raise NotBuiltYetError(message)
    if not content:
        message = "the file is empty"
        raise ExtractionError(message)
    text = reader(_decode(content, _declared_encoding(content) if reader is _html else "utf-8")).strip()
    if not text:
        message = "the file holds no text"
        raise ExtractionError(message)
    return text


def _declared_encoding(content: bytes) -> str:
    return EncodingDetector.find_declared_encoding(content, is_html=True) or "utf-8"


def _decode(content: bytes, encoding: str) -> str:
    for mark, name in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            content, encoding = content.removeprefix(mark), name
            break
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        message = f"the file is not {encoding.upper()} text: byte {error.start} cannot be read"
        raise ExtractionError(message) from error
    except LookupError as error:
        message = f"the file declares an unknown encoding: {encoding}"
        raise ExtractionError(message) from error
    if "\x00" in text:
        message = "the file is binary, not text"
        raise ExtractionError(message)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _plain(text: str) -> str:
    return text


def _markdown(text: str) -> str:
    """Blocks without their marks; inline marks, links and images stay, as on the platform."""
    tokens = MarkdownIt("commonmark").enable("table").parse(_without_front_matter(text))
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
            yield _html(token.content)
        elif token.type in {"inline", "fence", "code_block"}:
            yield token.content.rstrip("\n")


def _html(text: str) -> str:
    """What a reader of the page sees, a blank line between blocks, cells of a table's row in one line."""
    try:
        soup = BeautifulSoup(text, "html.parser")
    except ParserRejectedMarkup as error:
        message = f"the file is not HTML that can be read: {error}"
        raise ExtractionError(message) from error
    for unseen in soup(_UNSEEN):
        unseen.decompose()
    for string in soup.find_all(string=True):
        # A doctype or a comment is a string of another class; replaced, it would turn into text.
        if type(string) is NavigableString and string.find_parent("pre") is None:
            string.replace_with(re.sub(r"\s+", " ", string))
    for line_break in soup("br"):
        line_break.replace_with("\n")
    for cell in soup(["td", "th"]):
        cell.append(" ")
    for block in soup(_BLOCKS):
        block.insert_before("\n\n")
        block.insert_after("\n\n")
    lines = (line.strip() for line in soup.get_text().splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


_READERS: dict[str, Callable[[str], str]] = {
    "txt": _plain,
    "md": _markdown,
    "markdown": _markdown,
    "mdx": _markdown,
    "htm": _html,
    "html": _html,
}
