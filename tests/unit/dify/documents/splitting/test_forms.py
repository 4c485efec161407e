"""Splitting a text in each form."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.errors import RefusedError
from streams.dify.extraction.result import Part
from streams.dify.ids import text_hash
from streams.dify.splitting import piece as piece_module
from streams.dify.splitting.forms import Form, form_of, pieces_of
from streams.dify.splitting.piece import Piece
from streams.dify.splitting.rules import AUTOMATIC, Rules, Segmentation

LINES = Segmentation(50, 0, "\n")
SENTENCES = Segmentation(50, 0, ".")
PARAGRAPHS = Rules(cleaning=(), segmentation=LINES, parent_mode="paragraph", children=SENTENCES)
FULL = Rules(cleaning=(), segmentation=None, parent_mode="full-doc", children=LINES)


def _contents(pieces: list[Piece]) -> list[tuple[str, list[str]]]:
    return [(piece.content, [child.content for child in piece.children]) for piece in pieces]


def test_pieces_are_numbered_and_hashed_without_leading_punctuation() -> None:
    (piece,) = pieces_of([Part("  ...。,Hello   there")], "text_model", AUTOMATIC)
    assert piece == Piece(1, "Hello there", text_hash("Hello there"))


def test_a_piece_of_punctuation_is_dropped_and_leaves_no_gap() -> None:
    rules = Rules(cleaning=(), segmentation=Segmentation(size=8, overlap=0))
    pieces = pieces_of([Part("one\n\n" + "." * 20 + "\n\ntwo")], "text_model", rules)
    assert [(piece.position, piece.content) for piece in pieces] == [(1, "one"), (2, "two")]


@pytest.mark.requirement("Clean, rules, split, forms", "a table of cases computed by hand")
@pytest.mark.parametrize(
    ("text", "rules", "pieces"),
    [
        # Two lines are two parents. Each is split at its full stops, and the full stops are removed.
        ("a. b.\nc", PARAGRAPHS, [("a. b.", ["a", "b"]), ("c", ["c"])]),
        # A line of punctuation is no parent; a sentence of punctuation is no child.
        ("...\na.!.b", PARAGRAPHS, [("a.!.b", ["a", "b"])]),
        # A parent that is too long becomes two parents: 30 + 1 + 30 > 50.
        (f"{'a' * 30} {'b' * 30}", PARAGRAPHS, [("a" * 30, ["a" * 30]), ("b" * 30, ["b" * 30])]),
        # The whole text is one parent of any length, with its lines as children.
        (" a.\n\nb\n", FULL, [("a.\n\nb", ["a.", "b"])]),
        # A child that is too long is split; its parent is not.
        ("x" * 60, FULL, [("x" * 60, ["x" * 50, "x" * 10])]),
        # Punctuation only is no parent.
        ("...\n!", FULL, []),
        # A parent that contains only the children's separator is its own child.
        ("xx", replace(PARAGRAPHS, children=Segmentation(50, 0, "x")), [("xx", ["xx"])]),
    ],
)
def test_parents_and_children(text: str, rules: Rules, pieces: list[tuple[str, list[str]]]) -> None:
    """The expected values were computed by hand."""
    assert _contents(pieces_of([Part(text)], "hierarchical_model", rules)) == pieces


@pytest.mark.requirement("Clean, rules, split, forms", "properties of every split")
@given(st.text(alphabet="ab.\n !", max_size=300), st.sampled_from([PARAGRAPHS, FULL]))
def test_every_parent_can_be_found(text: str, rules: Rules) -> None:
    """Every parent has children. Positions start at one, for children within their parent."""
    parents = pieces_of([Part(text)], "hierarchical_model", rules)
    assert [parent.position for parent in parents] == list(range(1, len(parents) + 1))
    for parent in parents:
        assert parent.children
        assert [child.position for child in parent.children] == list(range(1, len(parent.children) + 1))
        assert all(child.content in parent.content for child in parent.children)
        assert all(piece.content_hash == text_hash(piece.content) for piece in (parent, *parent.children))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (AUTOMATIC, "has no subchunk_segmentation"),
        (replace(PARAGRAPHS, parent_mode=None), "has no parent_mode"),
        (replace(PARAGRAPHS, segmentation=None), "has no segmentation"),
    ],
)
def test_a_hierarchical_document_needs_a_hierarchical_rule(rules: Rules, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        pieces_of([Part("text")], "hierarchical_model", rules)


def test_a_plain_document_may_have_a_hierarchical_rule() -> None:
    """Its segmentation creates the pieces."""
    assert _contents(pieces_of([Part("a. b.\nc")], "text_model", PARAGRAPHS)) == [("a. b.", []), ("c", [])]


ROWS = [Part("q: a. b;r: c", {"row": 1}), Part("...", {"row": 2}), Part("q: d\nr: e", {"row": 3})]


@pytest.mark.requirement("Clean, rules, split, forms", "pages, rows and sections are split each by itself")
@pytest.mark.parametrize("form", ["text_model", "qa_model"])
def test_no_piece_crosses_a_part(form: Form) -> None:
    """The automatic rule joins short neighbours, but not two rows. Positions run on, and each piece has its place."""
    pieces = pieces_of(ROWS, form, AUTOMATIC)
    assert [(piece.position, piece.content, piece.place) for piece in pieces] == [
        (1, "q: a. b;r: c", {"row": 1}),
        (2, "q: d\nr: e", {"row": 3}),
    ]
    assert [piece.content_hash for piece in pieces] == [text_hash(piece.content) for piece in pieces]


def test_parents_are_cut_from_one_part_each() -> None:
    """A parent of the mode `paragraph` has the place of its part, and its children count within it."""
    rules = replace(PARAGRAPHS, segmentation=Segmentation(50, 0, "\n\n"))
    parents = pieces_of(ROWS, "hierarchical_model", rules)
    assert _contents(parents) == [("q: a. b;r: c", ["q: a", "b;r: c"]), ("q: d\nr: e", ["q: d\nr: e"])]
    assert [(parent.position, parent.place) for parent in parents] == [(1, {"row": 1}), (2, {"row": 3})]


def test_the_parts_are_joined_for_one_parent_only() -> None:
    """The parent of the mode `full-doc` is the whole text. It has a place only if the file has one part."""
    (whole,) = pieces_of(ROWS, "hierarchical_model", FULL)
    assert (whole.content, whole.place) == ("q: a. b;r: c\n\n...\n\nq: d\nr: e", {})
    (single,) = pieces_of(ROWS[:1], "hierarchical_model", FULL)
    assert single.place == {"row": 1}


def test_each_part_is_cleaned_by_itself() -> None:
    """Blanks at the ends of two parts are not neighbours."""
    parts = [Part("one  two\n\n\n\nthree"), Part("  four")]
    rules = Rules(cleaning=("remove_extra_spaces",), segmentation=Segmentation(50, 0, ""))
    assert [piece.content for piece in pieces_of(parts, "text_model", rules)] == ["one two\n\nthree", "four"]


def test_the_pieces_of_all_parts_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_module, "MAX_PIECES", 2)
    with pytest.raises(RefusedError, match="more than 2 pieces"):
        pieces_of([Part(str(number)) for number in range(3)], "text_model", AUTOMATIC)


def test_unknown_forms_are_refused_by_name() -> None:
    with pytest.raises(RefusedError, match="'poem' is unknown; known forms: text_model, hierarchical_model, qa_model"):
        form_of("poem")
