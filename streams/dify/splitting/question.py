"""The form `qa_model`: questions are searched, and their answers are shown. A chat model writes both."""

from collections.abc import Iterable

from streams.dify.ids import text_hash
from streams.dify.qa.chat import Pair
from streams.dify.splitting.piece import Piece


def question_pieces(pairs: Iterable[Pair]) -> tuple[Piece, ...]:
    """Return one piece per question, in order."""
    return tuple(
        Piece(position, pair.question, text_hash(pair.question), answer=pair.answer)
        for position, pair in enumerate(pairs, start=1)
    )
