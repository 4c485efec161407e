r"""Reads EQ fields, in which older versions of Word keep fractions, readings (ruby) and circled characters.

Such a field has no stored result: its text is in its code, as in ``EQ \o\ad(\s\up 9(とうきょう),東京)``.
"""

import re
from typing import NamedTuple

_CODE = re.compile(r"\s*EQ\b", re.IGNORECASE)
_FORMAT = re.compile(r'\s*\\\*\s*(?:"[^"]*"|[^\s\\(]+)\s*')
"""A switch of the field that only formats, as ``\\* hps10`` or ``\\* "Font:MS Mincho"``."""
_FUNCTION = re.compile(r"\\([a-z])\s*(?:\\[a-z]{2}[0-9\s]*(?:\\[^\sa-z0-9]\s*)?)*\(", re.IGNORECASE)
r"""A function with its options, as ``\o\ad(`` or ``\s\up 9(``."""
_OPTION = re.compile(r"\\[a-z]{2}[0-9]*", re.IGNORECASE)
_SIGNS = {"f": "/", "r": "√", "l": ","}
"""What stands between the arguments of a function: a fraction, a root, a list. Others have nothing, or a blank."""
_APART = frozenset({"a", "i"})
"""Arrays and integrals: their arguments are words of their own."""
_MAX_DEPTH = 20


class _Found(NamedTuple):
    text: str
    raised: bool = False
    """Whether it stands above the line, as a reading does."""


def equation_text(code: str) -> str:
    """Return what an EQ field shows, on one line; empty: the code is of another field."""
    found = _CODE.match(code)
    if not found:
        return ""
    place = found.end()
    while formatting := _FORMAT.match(code, place):
        place = formatting.end()
    return "".join(_Reader(code[place:].strip()).argument(0)[0]).strip()


class _Reader:
    """Reads a code from left to right, once."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._place = 0

    def argument(self, depth: int) -> tuple[list[str], bool]:
        """Return the pieces of text up to the end of an argument, and whether they are raised."""
        pieces: list[str] = []
        raised = False
        while self._place < len(self._code):
            character = self._code[self._place]
            if depth and character in ",;)":
                break
            function = _FUNCTION.match(self._code, self._place) if depth < _MAX_DEPTH else None
            if function:
                self._place = function.end()
                found = self._function(function[1].lower(), depth + 1)
                pieces.append(found.text)
                raised |= found.raised
            elif character == "\\":
                option = _OPTION.match(self._code, self._place)
                # A backslash before another sign takes its meaning away.
                pieces.append("" if option else self._code[self._place + 1 : self._place + 2])
                self._place = option.end() if option else self._place + 2
            else:
                pieces.append(character)
                self._place += 1
        return pieces, raised

    def _function(self, name: str, depth: int) -> _Found:
        arguments: list[tuple[str, bool]] = []
        while self._place < len(self._code):
            pieces, raised = self.argument(depth)
            arguments.append(("".join(pieces).strip(), raised))
            end = self._code[self._place : self._place + 1]
            self._place += 1
            if end == ")":
                break
        readings = [text for text, raised in arguments if raised and text]
        texts = [text for text, raised in arguments if not raised and text]
        if name == "o" and readings and texts:
            return _Found(f"{''.join(texts)}({''.join(readings)})")
        if name == "s":
            return _Found("".join(text for text, _ in arguments), raised=True)
        shown = [text for text, _ in arguments if text]
        if name == "r":
            return _Found(_SIGNS["r"].join(shown) if len(shown) > 1 else f"{_SIGNS['r']}{''.join(shown)}")
        return _Found(_SIGNS.get(name, " " if name in _APART else "").join(shown))
