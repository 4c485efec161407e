"""The steps that load a split document: vectors into the store, or keywords into the table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.bare import Bare, bare_rows, complete_rows, fail_row, failed_segments, forget_failures
from streams.dify.embedding import Answer, EmbeddingError, UnusableVectorError, Vector, VectorSpace
from streams.dify.embedding_cache import cache_vectors, cached_vectors
from streams.dify.indexing import Job
from streams.dify.keyword_table import complete_segments, put_document, segments_without_keywords, write_keywords
from streams.dify.models import Dataset, utc_now
from streams.dify.platform import Platform
from streams.dify.refusals import BusyError, RefusedError
from streams.dify.standing import lock_standing
from streams.dify.vector_index import Entry, index_struct

GROUP = 100
"""Rows that get their vectors or keywords in one step: what a crash makes again at most."""
_NAMED = 3
"""Failed segments that an error names."""
_SHOWN = 60
"""Characters of a failed text that its error repeats."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that get their vectors in one step, and the vectors that the cache knows of their texts."""

    space: VectorSpace
    rows: tuple[Bare, ...]
    known: Mapping[str, Vector]
    """By text hash."""

    @property
    def unknown(self) -> dict[str, str]:
        """Texts to embed, by text hash; a text that occurs twice is there once."""
        texts = {row.content_hash: row.content for row in self.rows}
        return {key: text for key, text in texts.items() if key not in self.known}


async def first_group(session: AsyncSession, job: Job, space: VectorSpace, size: int) -> Group:
    """The first rows without vectors; what failed in a former attempt is among them again."""
    await lock_standing(session, job.dataset_id, job.document_id)
    await forget_failures(session, job.form, job.dataset_id, job.document_id)
    return await next_group(session, job, space, size)


async def next_group(session: AsyncSession, job: Job, space: VectorSpace, size: int) -> Group:
    """The next rows without vectors, by position; none: all have theirs, or failed in this attempt."""
    await lock_standing(session, job.dataset_id, job.document_id)
    rows = await bare_rows(session, job.form, job.document_id, size)
    hashes = [row.content_hash for row in rows]
    return Group(space, rows, await cached_vectors(session, space, hashes) if rows else {})


async def write_group(
    session: AsyncSession, platform: Platform, job: Job, group: Group, answers: Mapping[str, Answer]
) -> None:
    """Vectors and their rows' completion together; `answers` are those to the unknown texts, by hash.

    A row whose text got no usable vector says so; one whose text was not answered stays as it is.
    """
    dataset = (await lock_standing(session, job.dataset_id, job.document_id)).dataset
    made = {key: answer for key, answer in answers.items() if isinstance(answer, list)}
    await cache_vectors(session, group.space, made)
    vectors = {**group.known, **made}
    done = [row for row in group.rows if row.content_hash in vectors]
    if done:
        await platform.vectors.create(session, job.collection, group.space.dimensions)
        if not dataset.index_struct:
            await _name_collection(session, platform, job)
        entries = [
            Entry(
                node_id=row.node_id,
                content=row.content,
                content_hash=row.content_hash,
                document_id=job.document_id,
                dataset_id=job.dataset_id,
                vector=vectors[row.content_hash],
            )
            for row in done
        ]
        await platform.vectors.upsert(session, job.collection, entries)
        await complete_rows(session, job.form, job.document_id, done, utc_now())
    for row in group.rows:
        answer = answers.get(row.content_hash)
        if isinstance(answer, UnusableVectorError):
            await fail_row(session, job.form, row, f"{answer}: {row.content[:_SHOWN]!r}", utc_now())


async def _name_collection(session: AsyncSession, platform: Platform, job: Job) -> None:
    await session.execute(
        update(Dataset)
        .where(Dataset.id == job.dataset_id, func.coalesce(Dataset.index_struct, "") == "")
        .values(index_struct=index_struct(platform.vectors.kind, job.collection))
    )


def hindrance(answers: Iterable[Answer]) -> Exception | None:
    """Why an attempt cannot go on with its other texts: a refusal, else the longest wait, else any failure."""
    failures = [one for one in answers if isinstance(one, Exception) and not isinstance(one, UnusableVectorError)]
    return max(failures, key=_weight, default=None)


def _weight(error: Exception) -> tuple[bool, bool, float]:
    after = error.after if isinstance(error, BusyError) else 0.0
    return isinstance(error, RefusedError), isinstance(error, BusyError), after


async def check_loaded(session: AsyncSession, job: Job) -> None:
    """Raise EmbeddingError, naming them, where segments have no vector."""
    await lock_standing(session, job.dataset_id, job.document_id)
    count, failed = await failed_segments(session, job.document_id, _NAMED)
    if count:
        named = "; ".join(f"segment {position}: {error}" for position, error in failed)
        more = f"; and {count - len(failed)} more" if count > len(failed) else ""
        message = f"{count} of the document's segments got no vector: {named}{more}"
        raise EmbeddingError(message)


async def next_unread(session: AsyncSession, job: Job) -> list[tuple[str, str]]:
    """Id and content of the next segments without keywords; none: all have theirs."""
    await lock_standing(session, job.dataset_id, job.document_id)
    return await segments_without_keywords(session, job.document_id, GROUP)


async def write_read(session: AsyncSession, job: Job, segment_ids: Iterable[str], found: Iterable[list[str]]) -> None:
    """Keep the keywords that were found for segments, in their order."""
    await lock_standing(session, job.dataset_id, job.document_id)
    await write_keywords(session, list(zip(segment_ids, found, strict=True)))


async def write_table(session: AsyncSession, job: Job) -> None:
    """Every segment has its keywords: the table knows them, and they are completed, together."""
    await lock_standing(session, job.dataset_id, job.document_id)
    await put_document(session, job.dataset_id, job.document_id)
    await complete_segments(session, job.document_id)
