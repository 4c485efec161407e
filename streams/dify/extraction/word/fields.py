"""Follows the fields of a Word file: shows their results, and makes Markdown links of addresses."""

import re
from dataclasses import dataclass

from streams.dify.extraction.word.equation_fields import equation_text

_HYPERLINK = re.compile(r'\s*HYPERLINK\s+(?:"([^"]*)"|([^\s"\\]\S*))', re.IGNORECASE)
_ANCHOR = re.compile(r'\\l\s+(?:"([^"]*)"|(\S+))', re.IGNORECASE)
_MAX_FIELDS = 50
"""Fields that are open at the end of a paragraph. Those that have begun before them have lost their end."""


@dataclass(slots=True)
class _Field:
    """An open field, or a hyperlink."""

    start: int
    """The number of pieces of the paragraph before its result."""
    address: str = ""
    code: list[str] | None = None
    """The pieces of its code, while the code is read; None: the result is read."""
    has_link: bool = False
    """Whether a link is in the result. Links do not contain links."""
    shown: str = ""
    """What the field shows if it has no stored result."""


class FieldReader:
    """Collects the pieces of one paragraph after the other. A field may begin in one paragraph and end in another."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._fields: list[_Field] = []
        self._codes = 0
        self._reading = ""

    @property
    def is_shown(self) -> bool:
        """Whether text is shown here: the code of a field is not."""
        return not self._codes

    def add(self, text: str) -> None:
        """Add a piece of text, unless it belongs to the code of a field."""
        if self.is_shown and text:
            self._end_ruby()
            self._pieces.append(text)

    def add_ruby(self, text: str, reading: str) -> None:
        """Add a text with its reading. Those that follow each other are one word: 東京(とうきょう)."""
        if self.is_shown:
            self._pieces.append(text)
            self._reading += reading

    def add_code(self, text: str) -> None:
        """Add a piece of the code of the field."""
        if self._fields and self._fields[-1].code is not None:
            self._fields[-1].code.append(text)

    def begin(self, shown: str = "") -> None:
        """Begin a field: its code follows. Without a stored result it shows `shown`."""
        self._end_ruby()
        self._fields.append(_Field(len(self._pieces), code=[], shown=shown))
        self._codes += 1

    def separate(self) -> None:
        """End the code of the field: its result follows."""
        if self._fields and self._fields[-1].code is not None:
            self._end_code(self._fields[-1])

    def begin_link(self, address: str) -> None:
        """Begin a link to an address, or to no address."""
        self._end_ruby()
        self._fields.append(_Field(len(self._pieces), address))

    def end(self) -> None:
        """End the field or link that has begun last."""
        if self._fields:
            self._end_ruby()
            ended = self._fields.pop()
            if ended.code is not None:
                self._end_code(ended)
            if ended.shown and not "".join(self._pieces[ended.start :]).strip():
                self.add(ended.shown)
            self._link(ended)
            if self._fields:
                self._fields[-1].has_link |= ended.has_link

    def end_paragraph(self) -> str:
        """Return the text of the paragraph. Fields that are open go on in the next one."""
        self._end_ruby()
        for one in reversed(self._fields):
            if one.code is not None:
                # Otherwise a code without an end would hide the rest of the document.
                self._end_code(one)
            self._link(one)
            one.start, one.has_link = 0, False
        del self._fields[:-_MAX_FIELDS]
        text = "".join(self._pieces)
        self._pieces.clear()
        return text

    def _end_code(self, one: _Field) -> None:
        code = "".join(one.code or ())
        one.address = link_address(code)
        one.shown = one.shown or equation_text(code)
        one.code = None
        one.start = len(self._pieces)
        self._codes -= 1

    def _end_ruby(self) -> None:
        if self._reading:
            self._pieces.append(f"({self._reading})")
            self._reading = ""

    def _link(self, one: _Field) -> None:
        if one.address and not one.has_link:
            text = "".join(self._pieces[one.start :])
            if text.strip():
                self._pieces[one.start :] = [f"[{text}]({one.address})"]
                one.has_link = True


def link_address(code: str) -> str:
    """Return the address of a HYPERLINK field; empty: the code is of another field, or the place is in the document."""
    found = _HYPERLINK.match(code)
    address = (found[1] or found[2] or "").replace("\\\\", "\\").strip() if found else ""
    anchor = _ANCHOR.search(code, found.end()) if found else None
    return f"{address}#{anchor[1] or anchor[2]}" if address and anchor else address
