"""Zero bytes in JSON are found and replaced. A text that only spells the escape is no zero byte."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from streams.database.zero_bytes import has_zero_byte, without_zero_bytes

TEXTS = st.lists(st.sampled_from(["\0", "\\", "u", "0", "u0000", '"', "é", "\n"]), max_size=12).map("".join)


@given(TEXTS)
@example("\\u0000")
@example("\\\0\\\\\0")
def test_a_zero_byte_is_found_where_the_value_has_one(value: str) -> None:
    encoded = json.dumps([value])
    assert has_zero_byte(encoded) == ("\0" in value)


@given(TEXTS)
@example("\\u0000")
@example("\0\0")
def test_a_replacement_character_takes_its_place(value: str) -> None:
    """Nothing else is changed."""
    assert json.loads(without_zero_bytes(json.dumps({value: value}))) == {
        value.replace("\0", "\ufffd"): value.replace("\0", "\ufffd")
    }
