"""The split rules: limited length, nothing lost, pieces as the platform makes them."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.identity import text_hash
from streams.dify.refusals import NotBuiltYetError, RefusedError
from streams.dify.splitting import AUTOMATIC, Rule, pieces_of, rule_for, split

TEXTS = st.lists(
    st.sampled_from(["\n\n", "\n", "。", ". ", " ", "word", "a", "知识", "-" * 30, "long" * 40, "🙂"]), max_size=200
).map("".join)
RULES = st.builds(
    lambda size, overlap: Rule(size=size, overlap=min(overlap, size - 1)), st.integers(1, 80), st.integers(0, 30)
)


@given(TEXTS, RULES)
def test_no_piece_is_longer_than_the_rule_says(text: str, rule: Rule) -> None:
    assert all(0 < len(piece) <= rule.size for piece in split(text, rule))


@given(TEXTS, RULES)
def test_no_visible_character_is_lost(text: str, rule: Rule) -> None:
    kept = Counter("".join(split(text, rule)))
    assert all(kept[character] >= count for character, count in Counter("".join(text.split())).items())


@given(TEXTS, st.integers(1, 80))
def test_without_overlap_the_pieces_are_the_text(text: str, size: int) -> None:
    pieces = split(text, Rule(size=size, overlap=0))
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(st.integers(1, 400), RULES.filter(lambda rule: rule.size > 10))
def test_words_stay_whole_and_in_order(count: int, rule: Rule) -> None:
    """Numbered words that fit a piece come out whole; the order is that of the text, overlaps aside."""
    words = [f"w{number}" for number in range(count)]
    pieces = [piece.split() for piece in split(" ".join(words), rule)]
    assert list(dict.fromkeys(word for piece in pieces for word in piece)) == words
    assert [int(piece[0][1:]) for piece in pieces] == sorted(int(piece[0][1:]) for piece in pieces)


@given(st.integers(2, 300), RULES.filter(lambda rule: rule.size > 10))
def test_the_overlap_is_no_longer_than_asked_for(count: int, rule: Rule) -> None:
    words = [f"w{number}" for number in range(count)]
    pieces = [piece.split() for piece in split(" ".join(words), rule)]
    for before, after in pairwise(pieces):
        repeated = [word for word in after if word in before]
        assert len(" ".join(repeated)) <= rule.overlap


def test_short_text_is_one_piece() -> None:
    assert split("One paragraph.\n\nAnother one.", AUTOMATIC) == ["One paragraph.\n\nAnother one."]


def test_paragraphs_first_then_sentences_then_words_then_characters() -> None:
    rule = Rule(size=12, overlap=0)
    assert split("short one\n\nsecond. third is\n\nunbreakableword", rule) == [
        "short one",
        "second.",
        "third is",
        "unbreakablew",
        "ord",
    ]


def test_pieces_overlap_by_whole_parts() -> None:
    assert split("aaa bbb ccc ddd eee", Rule(size=12, overlap=4)) == ["aaa bbb ccc", "ccc ddd eee"]


def test_chinese_sentences_end_a_part() -> None:
    assert split("第一句话。第二句话。第三句话", Rule(size=10, overlap=0)) == ["第一句话。第二句话。", "第三句话"]


def test_pieces_are_numbered_and_hashed_without_leading_punctuation() -> None:
    (piece,) = pieces_of("  ...。,Hello   there", AUTOMATIC)
    assert (piece.position, piece.content, piece.content_hash) == (1, "Hello there", text_hash("Hello there"))


def test_a_piece_of_punctuation_is_dropped_and_leaves_no_gap() -> None:
    pieces = pieces_of("one\n\n" + "." * 20 + "\n\ntwo", Rule(size=8, overlap=0))
    assert [(piece.position, piece.content) for piece in pieces] == [(1, "one"), (2, "two")]


def test_the_automatic_rule() -> None:
    assert rule_for("automatic") == Rule(
        size=500, overlap=50, separators=("\n\n", "。", ". ", " ", ""), remove_extra_spaces=True
    )


@pytest.mark.parametrize(
    ("mode", "error"), [("custom", NotBuiltYetError), ("hierarchical", NotBuiltYetError), ("x", RefusedError)]
)
def test_other_rules_are_refused_by_name(mode: str, error: type[RefusedError]) -> None:
    with pytest.raises(error, match=repr(mode)):
        rule_for(mode)
