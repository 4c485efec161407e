"""The steps that load a split document: vectors into the store, or keywords into the table."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import hold
from streams.dify.embedding.cache import cache_vectors, cached_vectors
from streams.dify.embedding.port import Answer, Vector, VectorSpace
from streams.dify.errors import BusyError, RefusedError, RefusedTextError, UnusableVectorError
from streams.dify.indexing.pending_rows import (
    Missing,
    PendingRow,
    bare_rows,
    complete_rows,
    fail_row,
    forget_failures,
    missing_rows,
)
from streams.dify.indexing.steps import Job, bare_message
from streams.dify.keywords.table import contents_of, segments_without_keywords, write_keywords
from streams.dify.models import Dataset
from streams.dify.platform import Platform
from streams.dify.vector_stores.port import Entry, index_struct

T = TypeVar("T")
GROUP = 200
"""Rows that get their vectors or keywords in one step: what a crash makes again at most."""
_SHOWN = 60
"""Characters of a failed text that its error repeats."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that get their vectors in one step, and the vectors that the cache knows of their texts."""

    space: VectorSpace
    rows: tuple[PendingRow, ...]
    known: Mapping[str, Vector]
    """By text hash."""
    goes_on: str | None
    """The segment with which the next group begins: it may be the last one of this group, and is not complete then."""

    @property
    def unknown(self) -> dict[str, str]:
        """Texts to embed, by text hash; a text that occurs twice is there once."""
        texts = {row.content_hash: row.content for row in self.rows}
        return {key: text for key, text in texts.items() if key not in self.known}


async def missing_groups(session: AsyncSession, job: Job, size: int) -> deque[Sequence[Missing]]:
    """The rows without vectors, in groups; what failed in a former attempt is among them again. Raises Stopped."""
    await hold(session, job.generation)
    await forget_failures(session, job.form, job.generation)
    return _groups(await missing_rows(session, job.form, job.generation), size)


async def next_group(
    session: AsyncSession, job: Job, space: VectorSpace, ahead: deque[Sequence[Missing]]
) -> Group | None:
    """The first of the groups ahead, with its contents and the vectors that the cache knows; None: that was all."""
    if not ahead:
        return None
    rows = await bare_rows(session, job.form, ahead.popleft())
    known = await cached_vectors(session, space, [row.content_hash for row in rows]) if rows else {}
    return Group(space, rows, known, goes_on=ahead[0][0].segment_id if ahead else None)


async def write_group(
    session: AsyncSession, platform: Platform, job: Job, group: Group, answers: Mapping[str, Answer]
) -> None:
    """Vectors and their rows' completion together; `answers` are those to the unknown texts, by hash.

    A row whose text got no usable vector says so; one whose text was not answered stays as it is. Raises Stopped.
    """
    dataset = (await hold(session, job.generation)).dataset
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
                document_id=job.generation.document_id,
                dataset_id=job.generation.dataset_id,
                vector=vectors[row.content_hash],
            )
            for row in done
        ]
        await platform.vectors.upsert(session, job.collection, entries)
        ended = {row.segment_id for row in done} - {group.goes_on}
        await complete_rows(session, job.form, done, ended, enabled=not job.replaces)
    for row in group.rows:
        answer = answers.get(row.content_hash)
        if isinstance(answer, UnusableVectorError):
            await fail_row(session, job.form, row, f"{answer}: {row.content[:_SHOWN]!r}")


async def _name_collection(session: AsyncSession, platform: Platform, job: Job) -> None:
    await session.execute(
        update(Dataset)
        .where(Dataset.id == job.generation.dataset_id, func.coalesce(Dataset.index_struct, "") == "")
        .values(index_struct=index_struct(platform.vectors.kind, job.collection))
    )


def hindrance(answers: Iterable[Answer]) -> Exception | None:
    """Why an attempt cannot go on with its other texts: a refusal, else the longest wait, else any failure."""
    failures = [one for one in answers if isinstance(one, Exception) and not isinstance(one, UnusableVectorError)]
    return max(failures, key=_weight, default=None)


def refuses(answers: Iterable[Answer]) -> bool:
    """Whether a text will have no vector, however often it is tried."""
    return any(isinstance(one, RefusedTextError) for one in answers)


async def what_is_missing(session: AsyncSession, job: Job) -> str:
    """Which segments have no vector, and why, in words for a person. Raises Stopped."""
    await hold(session, job.generation)
    return await bare_message(session, job) or "the model has refused a text"


def _weight(error: Exception) -> tuple[bool, bool, float]:
    after = error.after if isinstance(error, BusyError) else 0.0
    return isinstance(error, RefusedError), isinstance(error, BusyError), after


async def unread_groups(session: AsyncSession, job: Job) -> deque[Sequence[str]]:
    """The segments without keywords, in groups. Raises Stopped."""
    await hold(session, job.generation)
    return _groups(await segments_without_keywords(session, job.generation), GROUP)


async def next_unread(session: AsyncSession, ahead: deque[Sequence[str]]) -> dict[str, str] | None:
    """The contents of the first of the groups ahead, by segment id; None: that was all."""
    return await contents_of(session, ahead.popleft()) if ahead else None


async def write_read(session: AsyncSession, job: Job, segment_ids: Iterable[str], found: Sequence[list[str]]) -> None:
    """Keep the keywords that were found for segments, in their order. Raises Stopped."""
    await hold(session, job.generation)
    await write_keywords(session, list(zip(segment_ids, found, strict=True)))


def _groups(rows: Sequence[T], size: int) -> deque[Sequence[T]]:
    return deque(rows[start : start + size] for start in range(0, len(rows), size))
