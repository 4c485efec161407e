"""PostgreSQL's arrays as text, for statements that take their rows as columns."""

from collections.abc import Iterable


def array_text(values: Iterable[object | None]) -> str:
    """An array as the server reads it (its manual, 8.15.6), each element as `str` gives it; None: null.

    The driver dumps a list element by element, through regular expressions: for the ledger's rows that took three
    fifths of a worker's time.
    """
    return "{" + ",".join(["NULL" if value is None else _quoted(str(value)) for value in values]) + "}"


def byte_array_text(values: Iterable[bytes | None]) -> str:
    """An array of `bytea`, each in the hexadecimal form."""
    return array_text(None if value is None else rf"\x{value.hex()}" for value in values)


def _quoted(element: str) -> str:
    if "\\" in element:
        element = element.replace("\\", "\\\\")
    if '"' in element:
        element = element.replace('"', '\\"')
    return f'"{element}"'
