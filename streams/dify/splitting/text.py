"""The form `text_model`: each piece of the text is a segment with a vector."""

from streams.dify.errors import RefusedError
from streams.dify.splitting.clean import clean_text
from streams.dify.splitting.piece import Piece, contents_of, numbered
from streams.dify.splitting.rules import Rules


def text_pieces(text: str, rules: Rules) -> tuple[Piece, ...]:
    """Clean and split a text. Raises RefusedError if the rules have no segmentation."""
    if rules.segmentation is None:
        message = "the process rule has no segmentation"
        raise RefusedError(message)
    return numbered(contents_of(clean_text(text, rules.cleaning), rules.segmentation))
