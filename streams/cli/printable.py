"""Text that a terminal only shows: what comes from data must not move its cursor, colour it, or start a new line."""

import re

# C0 and C1 controls, line and paragraph separators, lone surrogates, and what turns the direction of the text around.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SPELLED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def one_line(text: str) -> str:
    r"""The text with every control character spelled out, line breaks too: ``\n``, ``\x1b``, ``\u202e``."""
    return _UNPRINTABLE.sub(_spell, text)


def lines_of(text: str) -> list[str]:
    """The lines of a text such as a stack: its line breaks are kept, other control characters are spelled out."""
    return [one_line(line) for line in text.replace("\r\n", "\n").expandtabs(4).split("\n")]


def for_json(text: str) -> str:
    """Rendered JSON with the control characters that JSON allows as they are replaced by JSON's own escapes."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _SPELLED.get(match[0]) or (f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}")  # noqa: PLR2004 - one byte
