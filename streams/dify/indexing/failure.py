"""Records in a document's row that its indexing failed for good."""

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import PIPELINE
from streams.dify.ids import storable
from streams.dify.models import Dataset, Document, utc_now


async def record_failure(
    session: AsyncSession, dataset_id: str, document_id: str, tenant_id: str | None, error: str
) -> bool:
    """Record a failed indexing in the document's row, unless the document is completed or deleted.

    A document of a pipeline only gets its status back: the error text is the platform's own.

    Args:
        session: the transaction.
        dataset_id: the dataset that the request names.
        document_id: the document.
        tenant_id: the tenant that the request names; None: it names none.
        error: the text for the document's owner.

    Returns:
        False: the document exists and is not of this dataset and tenant. Nothing was changed.
    """
    found = await session.execute(
        select(Document.dataset_id, Document.tenant_id, Dataset.tenant_id, Dataset.runtime_mode)
        .join(Dataset, Dataset.id == Document.dataset_id, isouter=True)
        .where(Document.id == document_id)
    )
    row = found.one_or_none()
    if row is None:
        return True
    owner, *tenants, mode = row
    if owner != dataset_id or len({tenant_id, *tenants} - {None}) > 1:
        return False
    failed = Document.indexing_status != "completed"
    values: dict[str, object] = {"indexing_status": "error", "error": storable(error), "stopped_at": utc_now()}
    if mode == PIPELINE:
        failed = Document.indexing_status == "waiting"
        values["error"] = func.coalesce(Document.error, storable(error))
    await session.execute(update(Document).where(Document.id == document_id, failed).values(values))
    return True
