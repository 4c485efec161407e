"""Reads the columns of the platform that contain JSON as text."""

import json

from streams.database.zero_bytes import has_zero_byte


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
    return found if isinstance(found, dict) and not has_zero_byte(plain) else None
