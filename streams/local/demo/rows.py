"""Writes the rows that the platform writes before it publishes: tenant, dataset, files, documents."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy.orm import Session

from streams.dify.models import Dataset, DatasetProcessRule, Document, Tenant, UploadFile
from streams.local.demo.context import KnowledgeBase
from streams.local.demo.documents import SourceFile


@dataclass(frozen=True, slots=True)
class Upload:
    """The ids of a document, and the storage key of its file."""

    source: SourceFile
    document_id: str
    file_id: str
    key: str


def upload_of(source: SourceFile, knowledge: KnowledgeBase) -> Upload:
    """Return new ids for a file."""
    file_id = str(uuid4())
    key = f"upload_files/{knowledge.tenant_id}/{file_id}.{source.extension}"
    return Upload(source, str(uuid4()), file_id, key)


def add_dataset(session: Session, knowledge: KnowledgeBase) -> None:
    """Add a tenant with an empty dataset that uses vectors."""
    session.add(Tenant(id=knowledge.tenant_id, name="demo"))
    session.add(
        Dataset(
            id=knowledge.dataset_id,
            tenant_id=knowledge.tenant_id,
            name="demo",
            data_source_type="upload_file",
            indexing_technique="high_quality",
            created_by=knowledge.account_id,
        )
    )


def add_documents(
    session: Session, knowledge: KnowledgeBase, uploads: Sequence[Upload], first_position: int = 1
) -> None:
    """Add upload files and waiting documents, with the process rule that they share."""
    rule_id, batch = str(uuid4()), str(uuid4())
    session.add(
        DatasetProcessRule(
            id=rule_id, dataset_id=knowledge.dataset_id, mode="automatic", created_by=knowledge.account_id
        )
    )
    for position, upload in enumerate(uploads, start=first_position):
        session.add(_file(knowledge, upload))
        session.add(
            Document(
                id=upload.document_id,
                tenant_id=knowledge.tenant_id,
                dataset_id=knowledge.dataset_id,
                position=position,
                data_source_type="upload_file",
                data_source_info=json.dumps({"upload_file_id": upload.file_id}),
                dataset_process_rule_id=rule_id,
                batch=batch,
                name=upload.source.name,
                created_from="web",
                created_by=knowledge.account_id,
                doc_form="text_model",
            )
        )


def _file(knowledge: KnowledgeBase, upload: Upload) -> UploadFile:
    return UploadFile(
        id=upload.file_id,
        tenant_id=knowledge.tenant_id,
        storage_type="local",
        key=upload.key,
        name=upload.source.name,
        size=len(upload.source.content),
        extension=upload.source.extension,
        created_by=knowledge.account_id,
    )
