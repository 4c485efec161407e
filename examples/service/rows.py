"""The rows that the service writes, in the platform's form."""

import json
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import Dataset, DatasetProcessRule, Document, DocumentSegment, Tenant, UploadFile

ACCOUNT = str(UUID(int=1))
"""The current user; a real service knows it from its login."""


def dataset_rows(name: str) -> tuple[Tenant, Dataset]:
    """Return a tenant with an empty dataset."""
    tenant = Tenant(id=str(uuid4()), name=name)
    dataset = Dataset(
        id=str(uuid4()),
        tenant_id=tenant.id,
        name=name,
        data_source_type="upload_file",
        indexing_technique="high_quality",
        created_by=ACCOUNT,
    )
    return tenant, dataset


def upload_row(dataset: Dataset, name: str, size: int) -> UploadFile:
    """Return the row of a file of `size` bytes. Its `key` is the place of the file in the storage."""
    file_id = str(uuid4())
    extension = name.rpartition(".")[2].lower()
    return UploadFile(
        id=file_id,
        tenant_id=dataset.tenant_id,
        storage_type="local",
        key=f"upload_files/{dataset.tenant_id}/{file_id}.{extension}",
        name=name,
        size=size,
        extension=extension,
        created_by=ACCOUNT,
    )


def document_rows(upload: UploadFile, dataset: Dataset, position: int) -> tuple[DatasetProcessRule, Document]:
    """Return a waiting document, and its process rule."""
    rule = DatasetProcessRule(id=str(uuid4()), dataset_id=dataset.id, mode="automatic", created_by=ACCOUNT)
    document = Document(
        id=str(uuid4()),
        tenant_id=dataset.tenant_id,
        dataset_id=dataset.id,
        position=position,
        data_source_type="upload_file",
        data_source_info=json.dumps({"upload_file_id": upload.id}),
        dataset_process_rule_id=rule.id,
        batch=str(uuid4()),
        name=upload.name,
        created_from="api",
        created_by=ACCOUNT,
        doc_form="text_model",
        indexing_status="waiting",
    )
    return rule, document


def file_of(document: Document) -> str | None:
    """Return the id of the document's file."""
    info: dict[str, str] = json.loads(document.data_source_info or "{}")
    return info.get("upload_file_id")


async def next_position(session: AsyncSession, dataset_id: str) -> int:
    """Return the position after the dataset's last document."""
    highest = select(func.max(Document.position)).where(Document.dataset_id == dataset_id)
    return (await session.scalar(highest) or 0) + 1


async def segments_of(session: AsyncSession, document_id: str) -> int:
    """Return the number of segments that can be found."""
    completed = select(func.count()).where(
        DocumentSegment.document_id == document_id, DocumentSegment.status == "completed"
    )
    return await session.scalar(completed) or 0
