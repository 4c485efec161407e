"""The split rules: limited length, no lost text, the same pieces as on the platform."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.splitting.rules import Segmentation
from streams.dify.splitting.split import split

TEXTS = st.lists(
    st.sampled_from(["\n\n", "\n", "。", ". ", " ", "word", "a", "知识", "-" * 30, "long" * 40, "🙂"]), max_size=200
).map("".join)
AUTOMATIC_SEGMENTATION = Segmentation(size=500, overlap=50)
SEGMENTATIONS = st.builds(
    lambda size, overlap: Segmentation(size=size, overlap=min(overlap, size - 1)),
    st.integers(1, 80),
    st.integers(0, 30),
)


@pytest.mark.requirement("Clean, rules, split, forms", "properties of every split")
@given(TEXTS, SEGMENTATIONS)
def test_no_piece_is_longer_than_the_rule_says(text: str, segmentation: Segmentation) -> None:
    assert all(0 < len(piece) <= segmentation.size for piece in split(text, segmentation))


@pytest.mark.requirement(
    "Faults and operations",
    "pure parts by properties: offset prefix, lanes, retry plan, splitting",
)
@given(TEXTS, SEGMENTATIONS)
def test_no_visible_character_is_lost(text: str, segmentation: Segmentation) -> None:
    kept = Counter("".join(split(text, segmentation)))
    assert all(kept[character] >= count for character, count in Counter("".join(text.split())).items())


@given(TEXTS, st.integers(1, 80))
def test_without_overlap_the_pieces_are_the_text(text: str, size: int) -> None:
    pieces = split(text, Segmentation(size=size, overlap=0))
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(st.integers(1, 400), SEGMENTATIONS.filter(lambda segmentation: segmentation.size > 10))
def test_words_stay_whole_and_in_order(count: int, segmentation: Segmentation) -> None:
    """Numbered words that fit into a piece are not split. Their order is the order of the text, except overlaps."""
    words = [f"w{number}" for number in range(count)]
    pieces = [piece.split() for piece in split(" ".join(words), segmentation)]
    assert list(dict.fromkeys(word for piece in pieces for word in piece)) == words
    assert [int(piece[0][1:]) for piece in pieces] == sorted(int(piece[0][1:]) for piece in pieces)


@given(st.integers(2, 300), SEGMENTATIONS.filter(lambda segmentation: segmentation.size > 10))
def test_the_overlap_is_no_longer_than_asked_for(count: int, segmentation: Segmentation) -> None:
    words = [f"w{number}" for number in range(count)]
    pieces = [piece.split() for piece in split(" ".join(words), segmentation)]
    for before, after in pairwise(pieces):
        repeated = [word for word in after if word in before]
        assert len(" ".join(repeated)) <= segmentation.overlap


def test_short_text_is_one_piece() -> None:
    assert split("One paragraph.\n\nAnother one.", AUTOMATIC_SEGMENTATION) == ["One paragraph.\n\nAnother one."]


def test_paragraphs_first_then_sentences_then_words_then_characters() -> None:
    words = Segmentation(size=12, overlap=0)
    assert split("short one\n\nsecond. third is\n\nunbreakableword", words) == [
        "short one",
        "second.",
        "third is",
        "unbreakablew",
        "ord",
    ]


def test_pieces_overlap_by_whole_parts() -> None:
    assert split("aaa bbb ccc ddd eee", Segmentation(size=12, overlap=4)) == ["aaa bbb ccc", "ccc ddd eee"]


def test_chinese_sentences_end_a_part() -> None:
    assert split("第一句话。第二句话。第三句话", Segmentation(size=10, overlap=0)) == [
        "第一句话。第二句话。",
        "第三句话",
    ]


@pytest.mark.requirement("Clean, rules, split, forms", "a table of cases computed by hand")
@pytest.mark.parametrize(
    ("text", "segmentation", "pieces"),
    [
        # The default separator: one piece per line; 3 + 4 would fit into one piece, but the separator always splits.
        ("one\nfour", Segmentation(10, 0, "\n"), ["one", "four"]),
        # Exactly the allowed length is not too long: 10 characters stay one piece, blanks included.
        ("aaaa bbbb.", Segmentation(10, 0, "\n"), ["aaaa bbbb."]),
        # 11 characters are too long: split at blanks, "aaaa " + "bbbb " = 10 fits, "c" is left.
        ("aaaa bbbb c", Segmentation(10, 0, "\n"), ["aaaa bbbb", "c"]),
        # Overlap only within a part that was too long: "b c" ends one piece and starts the next, "zz" has none.
        ("aa b c dd e\nzz", Segmentation(8, 4, "\n"), ["aa b c", "b c dd e", "zz"]),
        # The separator itself is removed everywhere. Nothing between two separators gives no piece.
        ("##one####two##", Segmentation(50, 0, "##"), ["one", "two"]),
        # Several lines are one piece if the separator is a blank line.
        ("a\nb\n\nc", Segmentation(50, 0, "\n\n"), ["a\nb", "c"]),
        # An empty separator does not split: the text is one piece, and is split further only if it is too long.
        ("a b\n\nc", Segmentation(50, 0, ""), ["a b\n\nc"]),
        # A word of 23 characters without any separator is cut: 10 + 10 + 3.
        ("x" * 23, Segmentation(10, 0, "\n"), ["x" * 10, "x" * 10, "x" * 3]),
        # Cut characters overlap by 3: each piece starts 7 further, at 0, 7 and 14.
        ("abcdefghijklmnopqrstuvw", Segmentation(10, 3, "\n"), ["abcdefghij", "hijklmnopq", "opqrstuvw"]),
        # A separator that does not occur: one part, too long, so the list of separators is used from its first entry.
        ("aaaa\n\nbbbb", Segmentation(8, 0, "§"), ["aaaa", "bbbb"]),
        # Blank parts are dropped.
        ("a\n \n\t\nb", Segmentation(50, 0, "\n"), ["a", "b"]),
        ("", Segmentation(50, 0, "\n"), []),
    ],
)
def test_a_separator_of_its_own(text: str, segmentation: Segmentation, pieces: list[str]) -> None:
    """Computed by hand from the rule: split at the separator, and only long parts are split further."""
    assert split(text, segmentation) == pieces


@pytest.mark.requirement("Clean, rules, split, forms", "properties of every split")
@given(TEXTS, SEGMENTATIONS, st.sampled_from(["\n", "\n\n", "。", "a", "word", ""]))
def test_with_a_separator_of_its_own_lengths_and_contents_hold(
    text: str, segmentation: Segmentation, separator: str
) -> None:
    pieces = split(text, replace(segmentation, separator=separator))
    assert all(0 < len(piece) <= segmentation.size for piece in pieces)
    kept = Counter("".join(pieces))
    rest = text.replace(separator, "") if separator else text
    assert all(kept[character] >= count for character, count in Counter("".join(rest.split())).items())


@given(TEXTS, st.integers(300, 400), st.sampled_from(["\n", "。", "a"]))
def test_short_parts_are_neither_joined_nor_overlapped(text: str, size: int, separator: str) -> None:
    parts = [part.strip() for part in text.split(separator)]
    if all(len(part) <= size for part in text.split(separator)):
        assert split(text, Segmentation(size, size // 2, separator)) == [part for part in parts if part]


@pytest.mark.requirement("Clean, rules, split, forms", "no text takes a time that grows with its square")
def test_a_large_text_takes_seconds() -> None:
    """4 MB in one line that is too long everywhere: no rule is quadratic."""
    pieces = split("word " * 800_000, Segmentation(500, 50, "\n"))
    assert len(pieces) > 8000
