"""Keeps tenants apart: an event and all rows that it leads to must belong to one tenant.

Every handler of the platform's rows calls `one_tenant` with the tenants of its event, the dataset, the document and the
file, before it reads their contents or changes them. What it deletes is selected by that tenant as well.
"""

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import ForeignTenantError, RefusedError
from streams.dify.ids import optional_id
from streams.dify.models import App, Dataset, Document, DocumentSegment
from streams.dify.sql import one_of

Owner = tuple[str, str | None]
"""A thing, as an error message names it, and its tenant. None: it does not say whose it is, or does not exist."""


def one_tenant(*owners: Owner) -> str | None:
    """Return the tenant that all of these belong to; None: none of them says whose it is.

    Raises ForeignTenantError that names the first two that differ.
    """
    known = [(what, tenant_id) for what, tenant_id in owners if tenant_id is not None]
    for what, tenant_id in known[1:]:
        if tenant_id != known[0][1]:
            message = f"{what} belongs to another tenant than {known[0][0]}"
            raise ForeignTenantError(message)
    return known[0][1] if known else None


def of_event(tenant_id: str | None) -> Owner:
    """Return an event as an owner. Raises RefusedError if its tenant is not a UUID."""
    return "the event", optional_id("tenant_id", tenant_id)


def in_own_folder(key: str, tenant_id: str) -> bool:
    """Return False if a storage key is in the folder of another tenant: ``upload_files/<tenant>/<name>``."""
    folders = key.split("/")[1:-1]
    try:
        return optional_id("tenant", folders[0] if folders else None) in {None, tenant_id}
    except RefusedError:
        return True  # It is not the folder of a tenant.


async def tenant_of_dataset(session: AsyncSession, dataset_id: str, event_tenant: str | None) -> str | None:
    """Return the tenant of an event that names a dataset; None: neither the event nor a row says it.

    Raises ForeignTenantError if the dataset exists and is not the event's tenant's.
    """
    found = await session.scalar(select(Dataset.tenant_id).where(Dataset.id == dataset_id))
    return one_tenant(of_event(event_tenant), (f"dataset {dataset_id}", found))


async def tenant_of_app(session: AsyncSession, app_id: str, event_tenant: str | None) -> str | None:
    """Return the tenant of an event that names an app, as `tenant_of_dataset` does."""
    found = await session.scalar(select(App.tenant_id).where(App.id == app_id))
    return one_tenant(of_event(event_tenant), (f"app {app_id}", found))


async def tenant_of_documents(
    session: AsyncSession, dataset_id: str, document_ids: list[str], event_tenant: str | None
) -> str | None:
    """Return the tenant of an event that names deleted documents of a dataset, as `tenant_of_dataset` does.

    The segments that the documents have left say it too.
    """
    tenant_id = await tenant_of_dataset(session, dataset_id, event_tenant)
    of_documents = one_of(DocumentSegment.document_id, document_ids)
    query = select(DocumentSegment.tenant_id).where(of_documents).limit(1)
    if tenant_id is not None:
        query = query.where(DocumentSegment.tenant_id != tenant_id)
    found = await session.scalar(query)
    return one_tenant(("the event", tenant_id), ("what a document has left", found))


async def tenant_of_deleted_dataset(session: AsyncSession, dataset_id: str, event_tenant: str | None) -> str | None:
    """Return the tenant of an event that names a deleted dataset. The documents that it has left say it too.

    Raises ForeignTenantError if they are not the event's tenant's, and RefusedError for the id of an app: an app's
    annotations have a collection with its id, as the vectors of a dataset.
    """
    if await session.scalar(select(exists().where(App.id == dataset_id))):
        message = f"{dataset_id} is the id of an app and not of a dataset"
        raise RefusedError(message)
    document = await session.scalar(select(Document.tenant_id).where(Document.dataset_id == dataset_id).limit(1))
    segments = select(DocumentSegment.tenant_id).where(DocumentSegment.dataset_id == dataset_id).limit(1)
    return one_tenant(
        of_event(event_tenant),
        (f"a document of dataset {dataset_id}", document),
        (f"a segment of dataset {dataset_id}", await session.scalar(segments)),
    )
