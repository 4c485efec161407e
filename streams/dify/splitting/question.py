"""`qa_model`: what is found is a question, what is shown is its answer; a chat model makes both of a piece of text."""

from collections.abc import Iterable

from streams.dify.ids import text_hash
from streams.dify.qa.chat import Pair
from streams.dify.splitting.piece import Piece


def question_pieces(pairs: Iterable[Pair]) -> tuple[Piece, ...]:
    """A piece a question, in order."""
    return tuple(
        Piece(position, pair.question, text_hash(pair.question), answer=pair.answer)
        for position, pair in enumerate(pairs, start=1)
    )
