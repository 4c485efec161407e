"""Stores the generated answers of a document's chunks until its segments exist.

A retry of the indexing sends only the missing chunks to the model, whatever the reason for the retry was.
"""

from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.database.tables import answered_chunks
from streams.dify.document_lock import IndexingRun, lock_for_run
from streams.dify.qa.ask import Answers
from streams.dify.qa.chat import Pair


def answer_key(model: str, language: str, chunk: str) -> str:
    """Return the cache key. It depends on the model, the language and the text."""
    return sha256(f"{model}\0{language}\0{chunk}".encode()).hexdigest()


async def load_answers(session: AsyncSession, run: IndexingRun) -> Answers:
    """Return the stored answers of a document, by key. Raises Stopped."""
    await lock_for_run(session, run)
    document_id = run.document_id
    found = await session.execute(
        select(answered_chunks.c.key, answered_chunks.c.pairs).where(answered_chunks.c.document_id == document_id)
    )
    return {key: tuple(Pair(question, answer) for question, answer in pairs) for key, pairs in found}


async def store_answers(session: AsyncSession, run: IndexingRun, answers: Answers) -> None:
    """Store answers. An existing answer is not replaced. Raises Stopped."""
    await lock_for_run(session, run)
    rows = [
        {
            "dataset_id": run.dataset_id,
            "document_id": run.document_id,
            "key": key,
            "pairs": [[pair.question, pair.answer] for pair in pairs],
        }
        for key, pairs in answers.items()
    ]
    if rows:
        await session.execute(insert(answered_chunks).on_conflict_do_nothing(), rows)


async def delete_answers(session: AsyncSession, document_id: str) -> None:
    """Delete the stored answers of a document. Its segments contain them now, or it was deleted."""
    await session.execute(answered_chunks.delete().where(answered_chunks.c.document_id == document_id))


async def delete_dataset_answers(session: AsyncSession, dataset_id: str) -> None:
    """Delete the stored answers of a deleted dataset. The ids of its documents may be unknown."""
    await session.execute(answered_chunks.delete().where(answered_chunks.c.dataset_id == dataset_id))
