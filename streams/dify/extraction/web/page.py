"""Reads HTML: the text that a reader of the page sees."""

import re
from collections.abc import Mapping

from lxml import etree

from streams.dify.extraction.bounds import within_characters
from streams.dify.extraction.encodings import decode_text

_BLOCKS = [
    *(
        "address",
        "article",
        "aside",
        "audio",
        "blockquote",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "dir",
        "div",
    ),
    *("dl", "dt", "fieldset", "listing", "object", "optgroup", "plaintext", "video", "xmp"),
    *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "legend"),
    *("li", "main", "menu", "nav", "ol", "p", "pre", "search", "section", "summary", "table", "textarea"),
    *("title", "tr", "ul"),
]
_HIDDEN_TAGS = {"rp", "script", "style", "template", "noscript", "noframes", "noembed", "iframe"}
_AROUND = {
    **dict.fromkeys(_BLOCKS, ("\n\n", "\n\n")),
    **dict.fromkeys(("td", "th"), ("", " ")),
    "text": ("\n", "\n"),  # of SVG
    **dict.fromkeys(("br", "option"), ("\n", "")),
    "rt": ("(", ")"),  # a reading, as in Word files: 東(とう)
}
"""The text before and after the content of a tag."""
_CONTROLS = {"button", "canvas", "input", "meter", "output", "progress", "select"}
"""Browsers draw them as boxes: a word after one is another word."""
_AT_ONCE = 1 << 20
"""Characters that the parser gets at once: less memory than the whole page."""
_META_CHARSET = re.compile(rb"""<meta\s[^>]{0,300}?charset\s*=\s*["']?\s*([^\s"'/>;]{1,40})""", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([^"']{1,40})""")
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_HEAD = 8_192
"""Bytes in which a page declares its encoding. Browsers look into 1,024; some pages begin with long comments."""


def html_text(content: bytes) -> str:
    """Return the text of an HTML file in its declared encoding. Raises ExtractionError."""
    return page_text(decode_text(content, declared_encoding(content)))


def declared_encoding(content: bytes) -> str:
    """Return the label of the encoding that a page declares; nothing if it declares none."""
    head = _COMMENT.sub(b"", content[:_HEAD])
    found = _XML_ENCODING.search(head) or _META_CHARSET.search(head)
    return found[1].decode("ascii", "replace") if found else ""


def page_text(text: str) -> str:
    """Return the blocks with blank lines between them, and each table row as one line. Raises ExtractionError."""
    parser = etree.HTMLParser(target=visible_text(), encoding="utf-8", huge_tree=True)
    for start in range(0, len(text), _AT_ONCE):
        parser.feed(text[start : start + _AT_ONCE].encode("utf-8", "replace"))
    return str(parser.close()) if text else ""


def visible_text() -> "etree.ParserTarget":
    """Return a target for a parser, whose result is the visible text."""
    # The stubs demand methods that take bytes too; lxml calls them with text.
    return VisibleText()  # type: ignore[return-value]


class VisibleText:
    """Collects the visible text from the events of a parser. There is no tree: time and memory grow with the text."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._hidden = 0
        """The number of open tags from a hidden one on."""
        self._preformatted = 0
        self._after_control = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Note the start of a tag."""
        name = _local(tag)
        if self._hidden or name in _HIDDEN_TAGS or _is_hidden(attributes):
            self._hidden += 1
            return
        if name in _AROUND:
            self._found.append(_AROUND[name][0])
        self._preformatted += name in {"pre", "textarea"}

    def end(self, tag: str) -> None:
        """Note the end of a tag."""
        if self._hidden:
            self._hidden -= 1
            return
        name = _local(tag)
        if name in _AROUND:
            self._found.append(_AROUND[name][1])
        self._preformatted -= name in {"pre", "textarea"}
        self._after_control |= name in _CONTROLS

    def data(self, text: str) -> None:
        """Note text between tags."""
        if self._hidden:
            return
        if not self._preformatted:
            text = re.sub(r"\s+", " ", text)
            # The parser splits text where it likes, also between two spaces.
            if self._found and self._found[-1].endswith((" ", "\n")):
                text = text.removeprefix(" ")
        if text:
            if self._after_control and text[0].isalnum() and "".join(self._found[-1:])[-1:].strip():
                self._found.append(" ")
            self._after_control = False
            self._found.append(text)

    def comment(self, text: str) -> None:
        """Leave out a comment."""

    def close(self) -> str:
        """Return the text. Raises ExtractionError."""
        lines = (line.strip() for line in "".join(within_characters(self._found)).splitlines())
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _local(tag: str) -> str:
    """Return the name of a tag without its namespace."""
    return tag.rpartition("}")[2].lower()


def _is_hidden(attributes: Mapping[str, str]) -> bool:
    """Return whether a tag has the attribute ``hidden``, unless a click or a search shows it."""
    hidden = attributes.get("hidden")
    return hidden is not None and hidden.lower() != "until-found" and attributes.get("role", "").lower() != "tabpanel"
