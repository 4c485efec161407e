"""Reads HTML: the text that a reader of the page sees."""

import re

from bs4 import BeautifulSoup
from bs4.builder import ParserRejectedMarkup
from bs4.dammit import EncodingDetector
from bs4.element import NavigableString

from streams.dify.errors import ExtractionError
from streams.dify.extraction.plain import plain_text

_BLOCKS = [
    *("address", "article", "aside", "blockquote", "dd", "div", "dl", "dt", "figcaption", "figure", "footer", "form"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "header", "li", "main", "nav", "ol", "p", "pre", "section", "table", "title"),
    *("tr", "ul"),
]
_HIDDEN_TAGS = ["script", "style", "template", "noscript"]


def html_text(content: bytes) -> str:
    """Return the text of an HTML file in its declared encoding. Raises ExtractionError."""
    encoding = EncodingDetector.find_declared_encoding(content, is_html=True) or "utf-8"
    return page_text(plain_text(content, encoding))


def page_text(text: str) -> str:
    """Return the blocks with blank lines between them, and each table row as one line. Raises ExtractionError."""
    try:
        soup = BeautifulSoup(text, "html.parser")
    except ParserRejectedMarkup as error:
        message = f"the file is not HTML that can be read: {error}"
        raise ExtractionError(message) from error
    for unseen in soup(_HIDDEN_TAGS):
        unseen.decompose()
    for string in soup.find_all(string=True):
        # A doctype or a comment is a string of another class. Replacing it would turn it into text.
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
