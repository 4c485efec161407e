"""Durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("10s", 10), ("1.5m", 90), ("1h", 3600), ("2d", 172_800), ("7", 7), (7, 7), (" 3s ", 3)],
)
def test_texts_and_numbers_are_seconds(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "10 s", "1w", "-1s", "1e3s", "ten"])
def test_anything_else_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(ValueError, match="ms, s, m, h or d"):
        parse_duration(text)


@given(st.integers(0, 10_000_000))
def test_what_is_written_is_read_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


def test_the_names_of_tiers_are_short() -> None:
    assert [format_duration(delay) for delay in (0, 10, 60, 600, 3600, 90)] == ["0s", "10s", "1m", "10m", "1h", "90s"]
