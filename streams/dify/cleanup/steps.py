"""What is left of a deleted document or dataset goes, in bounded steps; then nothing may be left.

All of it is found by the ids in the event, so it works when the rows of document and dataset are gone. Vectors go
with or before the rows that know their ids, so that a clean-up which ended half-way finds them again.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import any_, exists, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.delete import (
    Step,
    remove_documents,
    remove_own_files,
    remove_rows,
    remove_segments,
    remove_vectors,
)
from streams.dify.cleanup.leftovers import Scope, count_rows
from streams.dify.errors import LeftBehindError
from streams.dify.keywords.file import keyword_file
from streams.dify.keywords.table import count_orphans, sweep
from streams.dify.models import Dataset, Document
from streams.dify.platform import Platform
from streams.dify.vector_collections import collections_of


@dataclass(frozen=True, slots=True)
class DeletedDocument:
    """What a clean-up knows of a document whose row is gone."""

    dataset_id: str
    document_id: str
    tenant_id: str | None
    file_id: str | None
    """The upload file that it was made from."""


@dataclass(frozen=True, slots=True)
class DeletedDataset:
    """What a clean-up knows of a dataset whose row is gone."""

    dataset_id: str
    tenant_id: str | None
    index_struct: str | None
    collection_binding_id: str | None


async def standing_documents(session: AsyncSession, document_ids: list[str]) -> list[str]:
    """Those of the documents whose rows are (still) there."""
    named = literal(document_ids, ARRAY(Document.id.type))
    return list(await session.scalars(select(Document.id).where(Document.id == any_(named))))


async def dataset_stands(session: AsyncSession, dataset_id: str) -> bool:
    """Whether the dataset's row is (still) there."""
    return bool(await session.scalar(select(exists().where(Dataset.id == dataset_id))))


async def clean_deleted_document(session: AsyncSession, platform: Platform, deleted: DeletedDocument) -> Step:
    """One step. Raises RefusedError, and LeftBehindError where after the last one something is there all the same."""
    await _begin(session, deleted.dataset_id, deleted.document_id)
    dataset = await session.get(Dataset, deleted.dataset_id)
    struct, binding_id = (dataset.index_struct, dataset.collection_binding_id) if dataset else (None, None)
    collections = await collections_of(session, platform, deleted.dataset_id, struct, binding_id)
    tenant_id = deleted.tenant_id or (dataset.tenant_id if dataset else None)
    step = Step(session, platform, Scope(deleted.dataset_id, deleted.document_id, tenant_id))
    if not await remove_segments(step, collections):
        return step
    await remove_vectors(step, collections, deleted.document_id)
    if not (await remove_rows(step) and await remove_own_files(step, deleted.document_id, deleted.file_id)):
        return step
    left = Counter(await count_rows(session, step.scope, deleted.file_id))
    for collection in collections:
        left["vectors"] += await platform.vectors.count(session, collection, document_id=deleted.document_id)
    if dataset is not None:
        # Where the dataset is gone too, the whole table goes with it.
        swept = await sweep(session, platform.storage, dataset.tenant_id, dataset.id)
        step.removed["keyword nodes"] += swept
        left["keyword nodes"] = await count_orphans(session, dataset.id) if swept else 0
    _end(step, left)
    return step


async def clean_deleted_dataset(session: AsyncSession, platform: Platform, deleted: DeletedDataset) -> Step:
    """One step; raises as `clean_deleted_document`.

    Dropping the collections comes first in every step: no vector outlives the segment that knows its id.
    """
    await _begin(session, deleted.dataset_id)
    collections = await collections_of(
        session, platform, deleted.dataset_id, deleted.index_struct, deleted.collection_binding_id
    )
    tenant_id = deleted.tenant_id or await _tenant_of(session, deleted.dataset_id)
    step = Step(session, platform, Scope(deleted.dataset_id, None, tenant_id))
    for collection in collections:
        step.removed["collections"] += await platform.vectors.drop(session, collection, deleted.dataset_id)
    if not (await remove_segments(step, ()) and await remove_documents(step) and await remove_rows(step)):
        return step
    left = Counter(await count_rows(session, step.scope, None))
    for collection in collections:
        left["vectors"] += await platform.vectors.count(session, collection, dataset_id=deleted.dataset_id)
    if tenant_id is not None:
        await platform.storage.delete(keyword_file(tenant_id, deleted.dataset_id))
    _end(step, left)
    return step


async def _tenant_of(session: AsyncSession, dataset_id: str) -> str | None:
    """The tenant of a dataset whose row is gone, as its documents say."""
    return await session.scalar(select(Document.tenant_id).where(Document.dataset_id == dataset_id).limit(1))


async def _begin(session: AsyncSession, dataset_id: str, document_id: str | None = None) -> None:
    """Until the transaction ends nobody else cleans up after this document, or after its dataset.

    So no two wait for each other's rows, and each sees at its end what is left, not what another is about to remove.
    Until then too rows are found by indexes: for the first few of many rows the planner likes to read the whole table,
    where each step would meet again all that the steps before it have removed.
    """
    await session.execute(select(func.set_config("enable_seqscan", "off", True)))  # noqa: FBT003 - is_local
    of_dataset = func.hashtextextended(f"clean-up of dataset {dataset_id}", 0)
    if document_id is None:
        await session.execute(select(func.pg_advisory_xact_lock(of_dataset)))
        return
    of_document = func.hashtextextended(f"clean-up of document {document_id}", 0)
    await session.execute(select(func.pg_advisory_xact_lock_shared(of_dataset)))
    await session.execute(select(func.pg_advisory_xact_lock(of_document)))


def _end(step: Step, left: Mapping[str, int]) -> None:
    """All of the scope is removed. Raises LeftBehindError where a look says otherwise."""
    found = ", ".join(f"{count} {name}" for name, count in left.items() if count)
    if found:
        message = f"the clean-up of {step.scope} is through, and yet there are {found}"
        raise LeftBehindError(message)
    step.done = True
