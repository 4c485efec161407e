"""The steps that load a split document: they write vectors to the store, or keywords to the table."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.embedding.cache import cache_vectors, cached_vectors
from streams.dify.embedding.port import Answer, Vector, VectorSpace
from streams.dify.errors import BusyError, RefusedError, RefusedTextError, UnusableVectorError
from streams.dify.indexing.pending_rows import PendingId, PendingRow, load_pending_rows
from streams.dify.indexing.target import LoadTarget
from streams.dify.keywords.table import segment_contents, write_keywords
from streams.dify.models import Dataset
from streams.dify.platform import Platform
from streams.dify.vector_stores.port import Entry, index_struct

T = TypeVar("T")
GROUP_SIZE = 200
"""The number of rows that get vectors or keywords in one step. A crash repeats at most one step."""
_SHOWN = 60
"""The number of characters of a failed text in its error message."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that get their vectors in one step, and the cached vectors of their texts."""

    space: VectorSpace
    rows: tuple[PendingRow, ...]
    known: Mapping[str, Vector]
    """Key: text hash."""
    next_segment_id: str | None
    """The segment that the next group starts with. It may be the last one of this group, and is then not complete."""

    @property
    def unknown(self) -> dict[str, str]:
        """Return the texts to embed, by text hash. A text that occurs twice is returned once."""
        texts = {row.content_hash: row.content for row in self.rows}
        return {key: text for key, text in texts.items() if key not in self.known}


async def missing_groups(session: AsyncSession, target: LoadTarget, size: int) -> deque[Sequence[PendingId]]:
    """Return the rows without vectors, in groups, also those that failed in a previous attempt. Raises Stopped."""
    return groups_of(await target.pending(session), size)


async def next_group(
    session: AsyncSession, target: LoadTarget, space: VectorSpace, remaining: deque[Sequence[PendingId]]
) -> Group | None:
    """Remove the next group from the queue and return it with its contents and cached vectors; None: no more groups."""
    if not remaining:
        return None
    rows = await load_pending_rows(session, target.form, remaining.popleft())
    known = await cached_vectors(session, space, [row.content_hash for row in rows]) if rows else {}
    return Group(space, rows, known, next_segment_id=remaining[0][0].segment_id if remaining else None)


async def write_group(
    session: AsyncSession, platform: Platform, target: LoadTarget, group: Group, answers: Mapping[str, Answer]
) -> None:
    """Write vectors and complete their rows in one transaction.

    A row without a usable vector gets an error. A row whose text has no answer is not changed.

    Args:
        session: the transaction of the step.
        platform: the services.
        target: the document.
        group: the rows.
        answers: the model's answers for the unknown texts, by text hash.

    Raises:
        Stopped: the work has to end.
        IndexChangedError: the dataset has another model now.
    """
    dataset = (await target.lock(session, platform)).dataset
    made = {key: answer for key, answer in answers.items() if isinstance(answer, list)}
    await cache_vectors(session, group.space, made)
    vectors = {**group.known, **made}
    rows = await target.unchanged(session, group.rows)
    done = [row for row in rows if row.content_hash in vectors]
    if done:
        await platform.vectors.create(session, target.collection, group.space.dimensions)
        if not dataset.index_struct:
            await _name_collection(session, platform, target)
        entries = [
            Entry(
                node_id=row.node_id,
                content=row.content,
                content_hash=row.content_hash,
                document_id=target.run.document_id,
                dataset_id=target.run.dataset_id,
                vector=vectors[row.content_hash],
                place=target.places.at(row.position),
            )
            for row in done
        ]
        await platform.vectors.upsert(session, target.collection, entries)
        ended = {row.segment_id for row in done} - {group.next_segment_id}
        await target.complete_rows(session, done, ended)
    for row in rows:
        answer = answers.get(row.content_hash)
        if isinstance(answer, UnusableVectorError):
            await target.fail_row(session, row, f"{answer}: {row.content[:_SHOWN]!r}")


async def _name_collection(session: AsyncSession, platform: Platform, target: LoadTarget) -> None:
    await session.execute(
        update(Dataset)
        .where(Dataset.id == target.run.dataset_id, func.coalesce(Dataset.index_struct, "") == "")
        .values(index_struct=index_struct(platform.vectors.kind, target.collection))
    )


def blocking_error(answers: Iterable[Answer]) -> Exception | None:
    """Return the error that ends an attempt: a rejection, else the longest wait, else any failure; None: no error."""
    failures = [one for one in answers if isinstance(one, Exception) and not isinstance(one, UnusableVectorError)]
    return max(failures, key=_weight, default=None)


def has_rejection(answers: Iterable[Answer]) -> bool:
    """Return whether the model rejects a text for good."""
    return any(isinstance(one, RefusedTextError) for one in answers)


async def describe_missing(session: AsyncSession, target: LoadTarget) -> str:
    """Return a message that names the segments without a vector and the reasons. Raises Stopped."""
    return await target.describe_missing(session) or "the model rejected a text"


def _weight(error: Exception) -> tuple[bool, bool, float]:
    after = error.after if isinstance(error, BusyError) else 0.0
    return isinstance(error, RefusedError), isinstance(error, BusyError), after


async def keyword_groups(session: AsyncSession, target: LoadTarget) -> deque[Sequence[str]]:
    """Return the segments without keywords, in groups. Raises Stopped."""
    return groups_of(await target.without_keywords(session), GROUP_SIZE)


async def next_keyword_group(session: AsyncSession, remaining: deque[Sequence[str]]) -> dict[str, str] | None:
    """Remove the next group from the queue and return its contents by segment id; None: no more groups."""
    return await segment_contents(session, remaining.popleft()) if remaining else None


async def write_keyword_group(
    session: AsyncSession,
    platform: Platform,
    target: LoadTarget,
    segment_ids: Iterable[str],
    found: Sequence[list[str]],
) -> None:
    """Write the keywords of segments, in the order of the segments. Raises Stopped, IndexChangedError."""
    await target.lock(session, platform)
    await write_keywords(session, list(zip(segment_ids, found, strict=True)))


def groups_of(rows: Sequence[T], size: int) -> deque[Sequence[T]]:
    """Return the rows in groups of a size."""
    return deque(rows[start : start + size] for start in range(0, len(rows), size))
