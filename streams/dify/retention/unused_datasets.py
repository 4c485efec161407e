"""Removes the index of datasets that nobody uses. Their rows stay, so that documents can be enabled again.

The datasets are read by their primary key. Their documents and questions are found by the indexes on the dataset.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import and_, delete, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.bounded_deletion import disable_sequential_scans
from streams.dify.errors import BillingAwayError, BusyError
from streams.dify.ids import optional_id
from streams.dify.keywords.file import keyword_file
from streams.dify.models import (
    Dataset,
    DatasetAutoDisableLog,
    DatasetKeywordTable,
    DatasetQuery,
    Document,
    utc_now,
)
from streams.dify.platform import Platform
from streams.dify.retention.plans import TenantPlans
from streams.dify.retention.step import DroppedCollections, RetentionStep, TimeBudget
from streams.dify.sql import affected_rows, one_of
from streams.dify.vector_collections import collections_of, has_other_users

DATASETS_PER_PAGE = 500
"""The number of datasets that are read at once."""
DATASETS_PER_STEP = 100
"""The number of datasets whose index one step removes. A dropped table occupies locks of the server until the end."""
DOCUMENTS_PER_STATEMENT = 2_000
"""The number of documents that one statement disables."""
_BEFORE_ALL = "00000000-0000-0000-0000-000000000000"
"""The cursor of a step that has not finished its first dataset. None would end the run."""
_AVAILABLE = and_(Document.enabled, ~Document.archived)
_SEARCHABLE = and_(_AVAILABLE, Document.indexing_status == "completed")


class _Candidate(NamedTuple):
    """A dataset of a page."""

    id: str
    tenant_id: str
    is_old: bool
    """Whether it has an index of its own and was created before the cutoff."""


@dataclass(slots=True)
class UnusedDatasets:
    """One step of a pass over all datasets."""

    session: AsyncSession
    platform: Platform
    plans: TenantPlans
    cutoff: datetime
    plan: str | None
    """Only datasets of tenants with this plan, without a log. None: of all tenants, with a log for the notice."""
    budget: TimeBudget
    step: RetentionStep = field(default_factory=RetentionStep)

    async def run(self, cursor: str | None) -> RetentionStep:
        """Remove the index of unused datasets and disable their documents, until the time is spent.

        Raises RefusedError for an invalid cursor. If the billing service does not tell the plan of the step's first
        unused dataset, raises its error.
        """
        await disable_sequential_scans(self.session)
        self.step.cursor = await self._pass(optional_id("cursor", cursor))
        return self.step

    async def _pass(self, last: str | None) -> str | None:
        """Return the cursor of the next step; None: all datasets are read."""
        handled = False
        while True:
            page = await self._page(last)
            for one in page:
                try:
                    ended = not one.is_old or await self._handle(one)
                except (BusyError, BillingAwayError):
                    if not handled:
                        raise
                    return last
                if not ended:
                    return last or _BEFORE_ALL
                last, handled = one.id, True
                if self.budget.is_spent or self.step.removed["datasets"] >= DATASETS_PER_STEP:
                    return last
            if len(page) < DATASETS_PER_PAGE:
                return None

    async def _page(self, last: str | None) -> list[_Candidate]:
        is_old = and_(
            Dataset.created_at < self.cutoff, Dataset.indexing_technique.is_not(None), Dataset.provider == "vendor"
        )
        query = select(Dataset.id, Dataset.tenant_id, is_old).order_by(Dataset.id).limit(DATASETS_PER_PAGE)
        if last is not None:
            query = query.where(Dataset.id > last)
        return [_Candidate(*row) for row in await self.session.execute(query)]

    async def _handle(self, one: _Candidate) -> bool:
        """Remove the index of a dataset if it is unused. Returns False if the time was spent before the end.

        What is disabled by then stays so, and the next step does the rest. A dataset whose index is being written is
        in use: it is not waited for.
        """
        if not await self._is_unused(one.id):
            return True
        if self.plan is not None and await self.plans.plan(one.tenant_id) != self.plan:
            self.step.kept["datasets"] += 1
            return True
        lock = select(Dataset).where(Dataset.id == one.id).with_for_update(skip_locked=True)
        dataset = await self.session.scalar(lock)
        if dataset is None or not await self._is_unused(one.id):
            return True
        last = await self._disable_documents(dataset, None)
        while last is not None:
            if self.budget.is_spent and self.step.removed["documents disabled"]:
                return False
            last = await self._disable_documents(dataset, last)
        await self._drop(dataset)
        self.step.removed["datasets"] += 1
        return True

    async def _is_unused(self, dataset_id: str) -> bool:
        """Return whether a dataset has searchable documents, but none that is new and no question since the cutoff.

        A document whose indexing goes on, or would go on after a pause, would lose the vectors that it has.
        """
        of_dataset = Document.dataset_id == dataset_id
        asked = exists().where(DatasetQuery.dataset_id == dataset_id, DatasetQuery.created_at >= self.cutoff)
        older = exists().where(of_dataset, _SEARCHABLE, Document.updated_at < self.cutoff)
        newer = exists().where(of_dataset, _SEARCHABLE, Document.updated_at >= self.cutoff)
        started = or_(Document.indexing_status == "indexing", Document.is_paused.is_(True))
        unfinished = exists().where(of_dataset, _AVAILABLE, started)
        return bool(await self.session.scalar(select(and_(~asked, older, ~newer, ~unfinished))))

    async def _disable_documents(self, dataset: Dataset, after: str | None) -> str | None:
        """Disable some documents that are in the index, and log them for the notice. Archived ones are not in it.

        Returns the last of them; None: there are no more.
        """
        indexed = Document.indexing_status.in_(("completed", "error"))
        query = select(Document.id, Document.indexing_status).where(
            Document.dataset_id == dataset.id, _AVAILABLE, indexed
        )
        if after is not None:
            query = query.where(Document.id > after)
        found = (await self.session.execute(query.order_by(Document.id).limit(DOCUMENTS_PER_STATEMENT))).all()
        ids = [row.id for row in found]
        disable = (
            update(Document)
            .where(one_of(Document.id, ids), _AVAILABLE)
            .values(enabled=False, disabled_at=utc_now(), disabled_by=None)
        )
        self.step.removed["documents disabled"] += await affected_rows(self.session, disable)
        completed = [row.id for row in found if row.indexing_status == "completed"]
        if self.plan is None and completed:
            of_dataset = {"tenant_id": dataset.tenant_id, "dataset_id": dataset.id}
            rows = [{**of_dataset, "document_id": one} for one in completed]
            await self.session.execute(insert(DatasetAutoDisableLog), rows)
        return ids[-1] if len(ids) == DOCUMENTS_PER_STATEMENT else None

    async def _drop(self, dataset: Dataset) -> None:
        """Delete the vectors and the keyword table of a dataset. In a shared collection, only its vectors go."""
        session, vectors = self.session, self.platform.vectors
        collections = await collections_of(
            session, self.platform, dataset.id, dataset.index_struct, dataset.collection_binding_id
        )
        for collection in collections:
            shared = await has_other_users(session, collection, dataset.id)
            dropped = await vectors.drop(session, collection, dataset.id, shared=shared)
            self.step.removed["collections"] += dropped
        self.step.dropped.append(DroppedCollections(dataset.tenant_id, collections))
        keywords = delete(DatasetKeywordTable).where(DatasetKeywordTable.dataset_id == dataset.id)
        if tables := await affected_rows(session, keywords):
            await self.platform.storage.delete(keyword_file(dataset.tenant_id, dataset.id))
            self.step.removed["keyword tables"] += tables
