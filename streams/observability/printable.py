"""Escapes control characters: data must not move the terminal's cursor, change its colours, or start a new line."""

import re

# C0 and C1 controls, line and paragraph separators, lone surrogates, and bidirectional formatting characters.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SPELLED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def escape_line(text: str) -> str:
    r"""Escape every control character, line breaks too: ``\n``, ``\x1b``, ``\u202e``."""
    return _UNPRINTABLE.sub(_spell, text)


def escape_lines(text: str) -> list[str]:
    """Split a text such as a stack trace into lines, and escape the other control characters."""
    return [escape_line(line) for line in text.replace("\r\n", "\n").expandtabs(4).split("\n")]


def escape_json(text: str) -> str:
    """Escape the control characters that JSON allows inside strings. The JSON keeps its meaning."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _SPELLED.get(match[0]) or (f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}")  # noqa: PLR2004 - one byte
