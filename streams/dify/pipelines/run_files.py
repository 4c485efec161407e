"""What a pipeline has to run: a stored file with a JSON list, which the platform's API writes, or failed documents."""

from json import loads

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import PIPELINE
from streams.dify.http import as_object
from streams.dify.ids import valid_ids
from streams.dify.models import Dataset, Document, UploadFile
from streams.dify.tenancy import of_event, one_tenant
from streams.storage import FileMissingError, Storage


async def pipeline_tenant(session: AsyncSession, dataset_id: str) -> str | None:
    """Return the tenant of a dataset that a pipeline fills; None: there is no such dataset."""
    query = select(Dataset.tenant_id).where(Dataset.id.in_(valid_ids([dataset_id])), Dataset.runtime_mode == PIPELINE)
    return await session.scalar(query)


async def run_file_exists(session: AsyncSession, file_id: str, tenant_id: str) -> bool:
    """Return False if the file is deleted, which is so after its run. Raises ForeignTenantError."""
    owner = await session.scalar(select(UploadFile.tenant_id).where(UploadFile.id == file_id))
    one_tenant(of_event(tenant_id), (f"file {file_id}", owner))
    return owner is not None


async def documents_of_file(
    session: AsyncSession, storage: Storage, file_id: str, tenant_id: str
) -> list[tuple[str, str]]:
    """Return dataset and id of the tenant's documents that a file wants to fill. Unreadable parts count as missing."""
    key = await session.scalar(
        select(UploadFile.key).where(UploadFile.id == file_id, UploadFile.tenant_id == tenant_id)
    )
    if key is None:
        return []
    try:
        content: object = loads(await storage.read(key))
    except (FileMissingError, ValueError, RecursionError):
        return []
    entities = [as_object(as_object(one).get("application_generate_entity")) for one in _items(content)]
    named = valid_ids(str(entity.get("document_id", "")) for entity in entities)
    rows = await session.execute(
        select(Document.dataset_id, Document.id)
        .where(Document.id.in_(named), Document.tenant_id == tenant_id)
        .order_by(Document.id)
    )
    return [(dataset_id, document_id) for dataset_id, document_id in rows]


def _items(content: object) -> list[object]:
    return content if isinstance(content, list) else []
