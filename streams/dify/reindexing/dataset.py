"""The steps for a dataset that got another indexing technique or embedding model."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import lock_rows
from streams.dify.errors import Stopped
from streams.dify.ids import storable
from streams.dify.indexing.target import dataset_embedder
from streams.dify.models import Dataset, Document, utc_now
from streams.dify.platform import Platform
from streams.dify.reindexing.target import StandingTarget, check_available, check_technique, target_of
from streams.dify.tenancy import of_event, one_tenant
from streams.dify.vector_collections import collections_of, has_other_users

DOCUMENTS_PER_STEP = 500
"""The number of documents that one step requests."""
_AVAILABLE = Document.enabled & ~Document.archived


class DroppedIndex(NamedTuple):
    """A dataset whose vectors are gone."""

    tenant_id: str
    collections: tuple[str, ...]


async def drop_index(session: AsyncSession, platform: Platform, dataset_id: str, tenant_id: str | None) -> DroppedIndex:
    """Drop the collections of a dataset: its vectors are of another model, or it has no vectors any more.

    It waits for steps that write vectors. Later ones find the dataset's row as it is now. Where a collection is shared,
    only the dataset's own vectors are deleted.

    Args:
        session: the transaction of the step.
        platform: the services.
        dataset_id: the dataset.
        tenant_id: the tenant that the event names; None: it names none.

    Returns:
        The dataset's tenant, and the names of the collections.

    Raises:
        Stopped: the dataset is deleted, or has no index.
        RefusedError: the dataset is not the tenant's, or its model is not configured. Then nothing is dropped.
    """
    dataset = await session.scalar(select(Dataset).where(Dataset.id == dataset_id).with_for_update())
    if dataset is None:
        message = "the dataset is gone"
        raise Stopped(message)
    one_tenant(of_event(tenant_id), ("the dataset", dataset.tenant_id))
    check_technique(dataset)
    await dataset_embedder(session, platform, dataset)
    collections = await collections_of(
        session, platform, dataset_id, dataset.index_struct, dataset.collection_binding_id
    )
    for collection in collections:
        shared = await has_other_users(session, collection, dataset_id)
        await platform.vectors.drop(session, collection, dataset_id, shared=shared)
    return DroppedIndex(dataset.tenant_id, collections)


async def documents_after(session: AsyncSession, dataset_id: str, document_id: str | None) -> Sequence[str]:
    """Return the ids of some enabled documents of a dataset, in the order of their ids, after the given one."""
    query = select(Document.id).where(Document.dataset_id == dataset_id, _AVAILABLE)
    if document_id is not None:
        query = query.where(Document.id > document_id)
    return (await session.scalars(query.order_by(Document.id).limit(DOCUMENTS_PER_STEP))).all()


async def begin_document(
    session: AsyncSession, platform: Platform, dataset_id: str, document_id: str, tenant_id: str | None
) -> StandingTarget:
    """Return what has to be loaded for a document. Raises Stopped, and RefusedError as `drop_index` does."""
    locked = await lock_rows(session, dataset_id, document_id, tenant_id)
    check_available(locked.document)
    return await target_of(session, platform, locked)


async def record_not_changed(session: AsyncSession, dataset_id: str, tenant_id: str | None, error: str) -> None:
    """Record in the complete documents of a dataset that its index could not be changed."""
    query = select(Dataset.tenant_id).where(Dataset.id == dataset_id).with_for_update(read=True, key_share=True)
    owner = await session.scalar(query)
    if owner is None or tenant_id not in {None, owner}:
        return
    await session.execute(
        update(Document)
        .where(Document.dataset_id == dataset_id, _AVAILABLE, Document.indexing_status == "completed")
        .values(indexing_status="error", error=storable(error), stopped_at=utc_now())
    )
