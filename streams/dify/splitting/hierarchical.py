"""The form `hierarchical_model`: children are searched, and their parent is shown.

The parents are segments: the paragraphs of each part, or the whole text as one. Only their children get vectors.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from streams.dify.errors import RefusedError
from streams.dify.extraction.result import Part, joined_text
from streams.dify.splitting.clean import clean_text
from streams.dify.splitting.piece import Piece, check_number, contents_of, numbered
from streams.dify.splitting.rules import Rules, Segmentation
from streams.dify.splitting.text import text_pieces


def parent_pieces(parts: Sequence[Part], rules: Rules) -> list[Piece]:
    """Return a document's parents with their children. Raises RefusedError if the rules are incomplete."""
    if rules.children is None:
        message = "the process rule has no subchunk_segmentation, which a hierarchical document needs"
        raise RefusedError(message)
    if rules.parent_mode is None:
        message = "the process rule has no parent_mode, which a hierarchical document needs"
        raise RefusedError(message)
    if rules.parent_mode == "paragraph":
        return list(_families(text_pieces(parts, rules), rules.children))
    whole = clean_text(joined_text(parts), rules.cleaning).strip()
    children = tuple(numbered(contents_of(whole, rules.children)))
    place = parts[0].place if len(parts) == 1 else None
    return [replace(parent, children=children) for parent in numbered([whole], place=place)] if children else []


def _families(parents: Iterable[Piece], segmentation: Segmentation) -> Iterator[Piece]:
    """Yield the parents with their children. Raises RefusedError if they are too many together."""
    number = 0
    for parent in parents:
        family = with_children(parent, segmentation)
        number += 1 + len(family.children)
        check_number(number)
        yield family


def with_children(parent: Piece, segmentation: Segmentation) -> Piece:
    """Return a piece with its children. Raises RefusedError if they are too many."""
    # A parent that contains only the children's separator is its own child. So no parent is without a vector.
    contents = contents_of(parent.content, segmentation) or [parent.content]
    return replace(parent, children=tuple(numbered(contents)))
