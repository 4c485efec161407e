"""The text of an error about a name that does not exist: the names that exist, or those most like it."""

from collections.abc import Iterable
from difflib import get_close_matches

_ALL = 12
"""Up to so many names are listed whole."""
_CLOSE = 3
_FIRST = 5


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name, without a full stop.

    Args:
        what: The kind of thing, such as `topic`.
        name: The unknown name.
        known: The names that exist.
    """
    names = sorted(known)
    if len(names) <= _ALL:
        return f"no {what} {name!r}; there are: {', '.join(names)}"
    if close := get_close_matches(name, names, n=_CLOSE):
        return f"no {what} {name!r}; did you mean {' or '.join(close)}?"
    return f"no {what} {name!r}; there are {len(names)}, such as {', '.join(names[:_FIRST])}"
