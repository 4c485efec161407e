"""What the steps that load rows need to know about a document: which rows, where they go, and when to stop."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun, LockedDocument, lock_for_run
from streams.dify.embedding.port import Embedder
from streams.dify.errors import IndexChangedError
from streams.dify.indexing import pending_rows
from streams.dify.indexing.pending_rows import PendingId, PendingRow
from streams.dify.indexing.places import Places
from streams.dify.indexing.steps import Job, missing_vectors_message
from streams.dify.keywords.table import segments_without_keywords
from streams.dify.models import Dataset
from streams.dify.platform import Platform
from streams.dify.splitting.forms import Form


class LoadTarget(Protocol):
    """A document whose rows get vectors or keywords."""

    @property
    def run(self) -> IndexingRun:
        """The document."""

    @property
    def form(self) -> Form:
        """The form of the document."""

    @property
    def collection(self) -> str:
        """The collection of the vectors."""

    @property
    def keyword_number(self) -> int:
        """The number of keywords per segment."""

    @property
    def places(self) -> Places:
        """Where the segments are in their file, as far as this attempt knows."""

    async def lock(self, session: AsyncSession, platform: Platform) -> LockedDocument:
        """Lock dataset and document. Raises Stopped and IndexChangedError."""

    async def pending(self, session: AsyncSession) -> Sequence[PendingId]:
        """Return the rows that need vectors, in document order. Raises Stopped."""

    async def unchanged(self, session: AsyncSession, rows: Sequence[PendingRow]) -> Sequence[PendingRow]:
        """Return the rows that still need these vectors, and keep them so until the transaction ends."""

    async def complete_rows(self, session: AsyncSession, rows: Sequence[PendingRow], ended: Collection[str]) -> None:
        """Mark rows as complete, and the segments that end with them."""

    async def fail_row(self, session: AsyncSession, row: PendingRow, error: str) -> None:
        """Record that a row gets no vector, and why."""

    async def describe_missing(self, session: AsyncSession) -> str | None:
        """Return a message that names the segments without a vector; None: all have one. Raises Stopped."""

    async def without_keywords(self, session: AsyncSession) -> Sequence[str]:
        """Return the ids of the segments without keywords, in document order. Raises Stopped."""


@dataclass(frozen=True, slots=True)
class RunTarget:
    """The rows that one indexing of a document has created."""

    run: IndexingRun
    form: Form
    collection: str
    keyword_number: int
    embedder: Embedder | None
    enabled: bool
    """Whether completed segments can be found from now on."""
    places: Places = field(default_factory=Places)

    async def lock(self, session: AsyncSession, platform: Platform) -> LockedDocument:
        """Lock dataset and document. Raises Stopped and IndexChangedError."""
        locked = await self._lock(session)
        await check_unchanged(session, platform, locked.dataset, self.embedder)
        return locked

    async def _lock(self, session: AsyncSession) -> LockedDocument:
        return await lock_for_run(session, self.run)

    async def pending(self, session: AsyncSession) -> Sequence[PendingId]:
        """Return the rows without vectors, also those that failed in a previous attempt."""
        await self._lock(session)
        await pending_rows.clear_failures(session, self.form, self.run)
        return await pending_rows.list_pending(session, self.form, self.run)

    async def unchanged(self, session: AsyncSession, rows: Sequence[PendingRow]) -> Sequence[PendingRow]:
        """Return the rows that still exist. A person may delete a row that is not complete, and changes none."""
        return await pending_rows.lock_existing(session, self.form, rows)

    async def complete_rows(self, session: AsyncSession, rows: Sequence[PendingRow], ended: Collection[str]) -> None:
        """Mark rows as complete, and the segments that end with them."""
        await pending_rows.complete_rows(session, self.form, rows, ended, enabled=self.enabled)

    async def fail_row(self, session: AsyncSession, row: PendingRow, error: str) -> None:
        """Record in the row that it gets no vector, and why."""
        await pending_rows.fail_row(session, self.form, row, error)

    async def describe_missing(self, session: AsyncSession) -> str | None:
        """Return a message that names the segments without a vector and the reasons."""
        await self._lock(session)
        return await missing_vectors_message(session, self.run)

    async def without_keywords(self, session: AsyncSession) -> Sequence[str]:
        """Return the ids of the incomplete segments without keywords."""
        await self._lock(session)
        return await segments_without_keywords(session, self.run)


def target_of(job: Job, places: Places) -> RunTarget:
    """Return the target of an indexing."""
    return RunTarget(
        job.run, job.form, job.collection, job.keyword_number, job.embedder, enabled=not job.replaces, places=places
    )


async def dataset_embedder(session: AsyncSession, platform: Platform, dataset: Dataset) -> Embedder | None:
    """Return the model of a dataset; None: it is found by keywords. Raises RefusedError for an unknown model."""
    if dataset.indexing_technique != "high_quality":
        return None
    return await platform.tenant_embedder(
        session, dataset.tenant_id, dataset.embedding_model_provider, dataset.embedding_model
    )


async def check_unchanged(
    session: AsyncSession, platform: Platform, dataset: Dataset, embedder: Embedder | None
) -> None:
    """Raise IndexChangedError if the dataset has another model or technique than at the start of the work.

    The caller holds the lock of the dataset's row. So no vector of the former model is written after the collection
    was dropped for the new one.
    """
    if _names(await dataset_embedder(session, platform, dataset)) != _names(embedder):
        message = "the dataset's embedding model or indexing technique was changed during the work"
        raise IndexChangedError(message)


def _names(embedder: Embedder | None) -> tuple[str, str] | None:
    """Return what identifies a model. A new credential of the tenant makes no other model of it."""
    return None if embedder is None else (embedder.provider, embedder.model)
