r"""Zero bytes in JSON. PostgreSQL rejects them: in `jsonb` as the escape `\u0000`, in texts as the character."""

import re

_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""The escape after an even number of backslashes. After an odd one, its characters are text."""


def has_zero_byte(encoded: str) -> bool:
    """Return whether a JSON text has the escape of a zero byte."""
    return _ESCAPE.search(encoded) is not None


def without_zero_bytes(encoded: str) -> str:
    r"""Return a JSON text with `\ufffd` in place of each zero byte."""
    return _ESCAPE.sub(r"\1\\ufffd", encoded)
