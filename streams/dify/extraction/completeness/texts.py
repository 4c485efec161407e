"""Yields the texts of files that are text themselves: plain, Markdown, HTML, subtitles, properties.

Each function yields texts that are whole in themselves: no word crosses two of them.
"""

import re
from collections.abc import Iterator
from html import unescape

_TAG = re.compile(r"<(?:!--|/?([a-zA-Z][a-zA-Z0-9:-]*)|[!?/])")
_WITHIN_WORDS = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "ins", "kbd", "mark", "q"}
    | {"s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr"}
)
"""Tags that do not end a word."""
_FENCE = re.compile(r"^[ \t>*+-]*(?:```|~~~)[^\n]*$", re.MULTILINE)
_CUE_TAG = re.compile(r"<[^<>]*>")
_UTF_16, _UTF_32 = (b"\xff\xfe", b"\xfe\xff"), b"\xff\xfe\x00\x00"
_SEVEN_BITS = (b"\x00", b"\x1b", b"~{")
"""Bytes of UTF-16 and UTF-32 without a mark, of ISO-2022, and of HZ."""
_HIDDEN = re.compile(r"\shidden(?=[\s=/]|$)", re.IGNORECASE)
"""An element that nobody sees. Its end is not looked for: what follows is not counted."""
_UNSEEN = {name: re.compile(rf"</{name}\b", re.IGNORECASE) for name in ("noscript", "script", "style", "template")}


def page_texts(content: bytes) -> Iterator[str]:
    """Yield the visible texts of HTML."""
    yield from visible(decoded(content))


def markdown_texts(content: bytes) -> Iterator[str]:
    """Yield the texts of Markdown, without the languages of its code: they are marks."""
    yield from visible(_FENCE.sub("", decoded(content)))


def plain_texts(content: bytes) -> Iterator[str]:
    """Yield the text of a text file."""
    yield decoded(content)


def property_texts(content: bytes) -> Iterator[str]:
    """Yield the text of a properties file, without the words that have escapes."""
    yield " ".join(word for word in decoded(content).split() if "\\" not in word)


def cue_texts(content: bytes) -> Iterator[str]:
    """Yield what is said in WebVTT: the lines between a time and an empty line, without tags."""
    in_cue = False
    for line in decoded(content).splitlines():
        if "-->" in line:
            in_cue = True
        elif not line.strip():
            in_cue = False
        elif in_cue:
            yield unescape(_CUE_TAG.sub("", line))


def decoded(content: bytes) -> str:
    """Return the text of bytes: nothing of encodings in which an ASCII byte may be half a letter.

    Of other encodings that are no Unicode, only the words in ASCII count.
    """
    if content.startswith(_UTF_16) and not content.startswith(_UTF_32):
        return content.decode("utf-16", "replace").replace("\ufffd", " ")
    if any(sign in content for sign in _SEVEN_BITS):
        return ""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ascii_words(content)


def ascii_words(content: bytes) -> str:
    """Return the words that have no byte beyond ASCII: those of a code page that nobody names."""
    return b" ".join(word for word in content.split() if word.isascii()).decode("ascii")


def visible(text: str) -> Iterator[str]:
    """Yield the texts between tags, in one pass."""
    kept: list[str] = []
    position = 0
    while (tag := _TAG.search(text, position)) is not None:
        kept.append(text[position : tag.start()])
        name = (tag[1] or "").lower()
        if name not in _WITHIN_WORDS:
            yield unescape("".join(kept))
            kept.clear()
        end = text.find("-->" if tag[0] == "<!--" else ">", tag.end())
        if end < 0:
            return
        position = end + 1
        if _HIDDEN.search(text, tag.end(), end):
            return
        if name in _UNSEEN and not tag[0].startswith("</"):
            closing = _UNSEEN[name].search(text, position)
            if closing is None:
                return
            position = closing.start()
    yield unescape("".join((*kept, text[position:])))
