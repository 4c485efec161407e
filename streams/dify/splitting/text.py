"""`text_model`: each piece of the text is a segment with its vector."""

from streams.dify.errors import RefusedError
from streams.dify.splitting.clean import clean_text
from streams.dify.splitting.piece import Piece, contents_of, numbered
from streams.dify.splitting.rules import Rules


def text_pieces(text: str, rules: Rules) -> tuple[Piece, ...]:
    """A document's text, cleaned and split. Raises RefusedError where the rules do not say how."""
    if rules.segmentation is None:
        message = "the process rule says nothing of segmentation"
        raise RefusedError(message)
    return numbered(contents_of(clean_text(text, rules.cleaning), rules.segmentation))
