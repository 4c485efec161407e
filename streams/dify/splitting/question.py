"""The form `qa_model`: questions are searched, and their answers are shown. A chat model writes both."""

from collections.abc import Iterable, Mapping

from streams.dify.ids import text_hash
from streams.dify.qa.chat import Pair
from streams.dify.splitting.piece import Piece


def question_pieces(chunks: Iterable[tuple[Iterable[Pair], Mapping[str, str | int]]]) -> tuple[Piece, ...]:
    """Return one piece per question, in order. `chunks` are the pairs of each chunk, and its place in the file."""
    pairs = ((pair, place) for answered, place in chunks for pair in answered)
    return tuple(
        Piece(position, pair.question, text_hash(pair.question), answer=pair.answer, place=place)
        for position, (pair, place) in enumerate(pairs, start=1)
    )
