"""The form `text_model`: each piece of the text is a segment with a vector."""

from collections.abc import Iterable

from streams.dify.errors import RefusedError
from streams.dify.extraction.result import Part
from streams.dify.splitting.clean import clean_text
from streams.dify.splitting.piece import Piece, check_number, contents_of, numbered
from streams.dify.splitting.rules import Rules


def text_pieces(parts: Iterable[Part], rules: Rules) -> list[Piece]:
    """Clean and split each part by itself, so that no piece crosses a part. The positions run on.

    Raises RefusedError if the rules have no segmentation, or for too many pieces.
    """
    if rules.segmentation is None:
        message = "the process rule has no segmentation"
        raise RefusedError(message)
    pieces: list[Piece] = []
    for part in parts:
        contents = contents_of(clean_text(part.text, rules.cleaning), rules.segmentation)
        check_number(len(pieces) + len(contents))
        pieces += numbered(contents, len(pieces) + 1, part.place)
    return pieces
