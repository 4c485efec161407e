"""The platform's cleaning rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.cleaning import clean_text, without_leading_punctuation


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("<|system|>", "<system>"),
        ("a\x00b\x08c\x0bd\x1fe\x7ff", "abcdef"),
        ("tab\tand\nline stay", "tab\tand\nline stay"),
        ("mark\ufffe", "mark"),
        ("na\u00efve \u00bfque? \u00be", "nave que? "),
        ("a\n\n\n\nb", "a\n\nb"),
        ("a   b\u3000\u00a0c", "a b c"),
        ("a \t b", "a b"),
    ],
)
def test_what_goes(text: str, cleaned: str) -> None:
    assert clean_text(text, remove_extra_spaces=True) == cleaned


def test_spaces_stay_unless_asked_for() -> None:
    assert clean_text("a\n\n\n\nb   c", remove_extra_spaces=False) == "a\n\n\n\nb   c"


@given(st.text())
def test_cleaning_never_adds(text: str) -> None:
    assert len(clean_text(text, remove_extra_spaces=True)) <= len(text)


@given(st.text(alphabet=" ab\n\t\u3000", max_size=60))
def test_no_run_of_blanks_is_left(text: str) -> None:
    cleaned = clean_text(text, remove_extra_spaces=True)
    assert "\n\n\n" not in cleaned
    assert "  " not in cleaned


@pytest.mark.parametrize(
    ("piece", "rest"),
    [("... and so", "and so"), ("。第二句", "第二句"), ("#1 (one)", "1 (one)"), ("[link]", "[link]"), ("...", "")],
)
def test_leading_punctuation(piece: str, rest: str) -> None:
    assert without_leading_punctuation(piece) == rest
