"""Reads HTML: the text that a reader of the page sees."""

import re
from collections.abc import Iterator

from bs4 import BeautifulSoup
from bs4.builder import ParserRejectedMarkup
from bs4.dammit import EncodingDetector
from bs4.element import CData, NavigableString, PageElement, Tag

from streams.dify.errors import ExtractionError
from streams.dify.extraction.bounds import within_characters
from streams.dify.extraction.plain import plain_text

_BLOCKS = [
    *("address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "figcaption", "figure", "footer", "form"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "header", "li", "main", "nav", "ol", "p", "pre", "section", "table", "title"),
    *("tr", "ul"),
]
_HIDDEN_TAGS = {"script", "style", "template", "noscript"}
_AROUND = {
    **dict.fromkeys(_BLOCKS, ("\n\n", "\n\n")),
    **dict.fromkeys(("td", "th"), ("", " ")),
    "br": ("\n", ""),
}
"""The text before and after the content of a tag."""


def html_text(content: bytes) -> str:
    """Return the text of an HTML file in its declared encoding. Raises ExtractionError."""
    encoding = EncodingDetector.find_declared_encoding(content, is_html=True) or "utf-8"
    return page_text(plain_text(content, encoding))


def page_text(text: str) -> str:
    """Return the blocks with blank lines between them, and each table row as one line. Raises ExtractionError."""
    try:
        soup = BeautifulSoup(_without_open_ends(text), "html.parser")
    except ParserRejectedMarkup as error:
        message = f"the file is not HTML that can be read: {error}"
        raise ExtractionError(message) from error
    lines = (line.strip() for line in "".join(within_characters(_visible(soup))).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _without_open_ends(text: str) -> str:
    """Return the text with what opens a comment or a tag, and is never closed, as plain characters.

    Python's parser looks for the end of each of them up to the end of the text: quadratic time.
    """
    closed = text.rfind("-->") + 1
    text = text[:closed] + text[closed:].replace("<!--", "&lt;!--")
    closed = text.rfind(">") + 1
    return text[:closed] + text[closed:].replace("<", "&lt;")


def _visible(soup: BeautifulSoup) -> Iterator[str]:
    """Yield the visible text in order, in one pass without recursion, however many tags there are and however deep."""
    pending: list[PageElement | str | None] = [soup]
    preformatted = 0
    while pending:
        element = pending.pop()
        if element is None:  # the end of a <pre>
            preformatted -= 1
        elif isinstance(element, Tag):
            if element.name not in _HIDDEN_TAGS:
                before, after = _AROUND.get(element.name, ("", ""))
                yield before
                pending.append(after)
                if element.name == "pre":
                    preformatted += 1
                    pending.append(None)
                pending.extend(reversed(element.contents))
        # A comment or a doctype is a string of another class, and not visible.
        elif type(element) is NavigableString and not preformatted:
            yield re.sub(r"\s+", " ", element)
        elif type(element) in {str, NavigableString, CData}:
            yield str(element)
