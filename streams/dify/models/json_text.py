"""Reads the columns of the platform that contain JSON as text."""

import json
import re

_ZERO_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""A zero byte in JSON: an escape after an even number of backslashes. After an odd one, its characters are text."""


def read_object(text: str | None) -> dict[str, object] | None:
    """Return the object of a JSON text; None for anything else that the column may contain.

    That is also JSON too deep for the parser, and texts that PostgreSQL cannot store: with a zero byte, or with half of
    a surrogate pair.
    """
    try:
        found = json.loads(text or "")
        plain = json.dumps(found, ensure_ascii=False) if "\\u" in (text or "") else ""
        plain.encode()
    except (ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        return None
    return found if isinstance(found, dict) and _ZERO_BYTE.search(plain) is None else None
