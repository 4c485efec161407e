"""Array literals of PostgreSQL (manual, 8.15.6)."""

from datetime import date
from uuid import UUID

from streams.database.pg_arrays import array_text, byte_array_text


def test_elements_are_quoted_and_none_is_null() -> None:
    """Quoted, "NULL" and "" are texts; unquoted, NULL is null."""
    assert array_text([]) == "{}"
    assert array_text(["a", None, "NULL", ""]) == '{"a",NULL,"NULL",""}'


def test_quotes_and_backslashes_are_escaped() -> None:
    """Backslashes first, then quotes, so that an escape is not escaped again."""
    assert array_text(['{"a": "b, c"}']) == r'{"{\"a\": \"b, c\"}"}'
    assert array_text(['\\"']) == r'{"\\\""}'


def test_elements_of_other_types_are_converted_with_str() -> None:
    """Numbers, days and ids, as their columns read them."""
    assert array_text([1, date(2026, 1, 2), UUID(int=1)]) == '{"1","2026-01-02","00000000-0000-0000-0000-000000000001"}'


def test_bytes_are_hexadecimal() -> None:
    r"""`bytea`'s form `\x…`, its backslash escaped."""
    assert byte_array_text([b"\x00\xff", None, b""]) == r'{"\\x00ff",NULL,"\\x"}'
