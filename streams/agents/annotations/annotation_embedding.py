"""Embeds the questions of annotations between the transactions of a handler, and writes their vectors."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from streams.delivery import Work
from streams.dify.annotations.index import AnnotationIndex, write_questions
from streams.dify.embedding.cache import cache_vectors, cached_vectors
from streams.dify.embedding.port import Vector, VectorSpace, embed_with_retries
from streams.dify.errors import EmbeddingError, RefusedError, RefusedTextError
from streams.dify.ids import text_hash
from streams.dify.indexing.load import blocking_error
from streams.dify.platform import Platform


@dataclass(frozen=True, slots=True)
class EmbeddedQuestions:
    """Questions with the vectors that the model returned for them."""

    index: AnnotationIndex
    space: VectorSpace
    questions: Mapping[str, str]
    """Key: annotation."""
    vectors: Mapping[str, Vector]
    """Key: hash of the question."""
    new_hashes: frozenset[str]
    """The vectors that the cache does not have yet."""
    error: Exception | None
    """Why some questions have no vector; None: all have one."""

    async def write(self, session: AsyncSession, platform: Platform) -> int:
        """Write the vectors of the questions that are still the same. Returns their number.

        The session has locked the app. Raises ReplyDisabled, and BusyError if the model was changed meanwhile.
        """
        await cache_vectors(session, self.space, {key: self.vectors[key] for key in self.new_hashes})
        return await write_questions(session, platform, self.index, self.questions, self.vectors)


async def embed_questions(work: Work, index: AnnotationIndex, questions: Mapping[str, str]) -> EmbeddedQuestions:
    """Return the vectors of questions by annotation, from the cache or from the model. Blank questions get none."""
    texts = {text_hash(question): question for question in questions.values() if question.strip()}
    space = await index.embedder.space(work.compute)
    async with work.step() as session:
        known = await cached_vectors(session, space, list(texts))
    missing = {key: text for key, text in texts.items() if key not in known}
    answers = await embed_with_retries(index.embedder, list(missing.values()), work.compute) if missing else []
    made = {key: answer for key, answer in zip(missing, answers, strict=True) if isinstance(answer, list)}
    failed = next((key for key, answer in zip(missing, answers, strict=True) if isinstance(answer, Exception)), None)
    error = blocking_error(answers)
    if error is None and failed is not None:
        annotation_id = next(one for one, question in questions.items() if text_hash(question) == failed)
        reason = answers[list(missing).index(failed)]
        message = f"the question of annotation {annotation_id} has no vector: {reason}"
        error = RefusedError(message) if isinstance(reason, RefusedTextError) else EmbeddingError(message)
    return EmbeddedQuestions(index, space, questions, {**known, **made}, frozenset(made), error)
