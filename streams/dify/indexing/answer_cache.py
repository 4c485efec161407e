"""The answers that a document's chunks have got so far, kept until its segments are there.

A retry of the indexing asks only about the chunks that are missing here, whatever ended the attempt before it.
"""

from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.database.tables import answered_chunks
from streams.dify.document_lock import IndexingRun, hold
from streams.dify.qa.ask import Answers
from streams.dify.qa.chat import Pair


def answer_key(model: str, language: str, chunk: str) -> str:
    """What an answer depends on: another model, language or text is another question."""
    return sha256(f"{model}\0{language}\0{chunk}".encode()).hexdigest()


async def kept_answers(session: AsyncSession, generation: IndexingRun) -> Answers:
    """All that are known of a document, by key. Raises Stopped."""
    await hold(session, generation)
    document_id = generation.document_id
    found = await session.execute(
        select(answered_chunks.c.key, answered_chunks.c.pairs).where(answered_chunks.c.document_id == document_id)
    )
    return {key: tuple(Pair(question, answer) for question, answer in pairs) for key, pairs in found}


async def keep_answers(session: AsyncSession, generation: IndexingRun, answers: Answers) -> None:
    """Keep answers; one that is known already stays. Raises Stopped."""
    await hold(session, generation)
    rows = [
        {
            "dataset_id": generation.dataset_id,
            "document_id": generation.document_id,
            "key": key,
            "pairs": [[pair.question, pair.answer] for pair in pairs],
        }
        for key, pairs in answers.items()
    ]
    if rows:
        await session.execute(insert(answered_chunks).on_conflict_do_nothing(), rows)


async def forget_answers(session: AsyncSession, document_id: str) -> None:
    """The document's segments hold them now, or it is gone."""
    await session.execute(answered_chunks.delete().where(answered_chunks.c.document_id == document_id))


async def forget_answers_of_dataset(session: AsyncSession, dataset_id: str) -> None:
    """The dataset is gone, and maybe the ids of its documents with it."""
    await session.execute(answered_chunks.delete().where(answered_chunks.c.dataset_id == dataset_id))
