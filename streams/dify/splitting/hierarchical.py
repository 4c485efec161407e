"""`hierarchical_model`: what is shown is a parent, what is found are its children.

The parents are segments: the paragraphs of the text, or all of it as one. Only their children get vectors.
"""

from dataclasses import replace

from streams.dify.errors import RefusedError
from streams.dify.splitting.clean import clean_text
from streams.dify.splitting.piece import Piece, contents_of, numbered
from streams.dify.splitting.rules import Rules, Segmentation
from streams.dify.splitting.text import text_pieces


def parent_pieces(text: str, rules: Rules) -> tuple[Piece, ...]:
    """A document's parents with their children. Raises RefusedError where the rules do not say how to make them."""
    if rules.children is None:
        message = "the process rule says nothing of subchunk_segmentation, which a hierarchical document needs"
        raise RefusedError(message)
    if rules.parent_mode is None:
        message = "the process rule says nothing of parent_mode, which a hierarchical document needs"
        raise RefusedError(message)
    if rules.parent_mode == "paragraph":
        return tuple(_with_children(parent, rules.children) for parent in text_pieces(text, rules))
    whole = clean_text(text, rules.cleaning).strip()
    children = contents_of(whole, rules.children)
    return tuple(replace(parent, children=numbered(children)) for parent in numbered([whole])) if children else ()


def _with_children(parent: Piece, segmentation: Segmentation) -> Piece:
    # A parent that is nothing but the children's separator is its own child: no parent is without a vector.
    contents = contents_of(parent.content, segmentation) or [parent.content]
    return replace(parent, children=numbered(contents))
