"""Deletes a document, then the dataset: row and event in one transaction. Then nothing is left."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Table, func, select
from sqlalchemy.orm import Session

from schemas import DatasetDeleted, DocumentDeleted
from streams.database.tables import executions
from streams.dify.models import Dataset, Document, Embedding, metadata
from streams.local.demo.checks import check
from streams.local.demo.context import DemoContext
from streams.local.demo.rows import Upload

VECTORS = "vectors"
FILES = "files in the storage"


@dataclass(frozen=True, slots=True)
class DeletionResult:
    """The counts before and after the deletions, by table and store."""

    before: dict[str, int]
    after: dict[str, int]


def delete_everything(demo: DemoContext, first: Upload) -> DeletionResult:
    """Delete one document, then the dataset, and wait until nothing is left. Raises ClaimError."""
    before = {name: count for name, count in inventory(demo).items() if count}
    _delete_document(demo, first)
    _delete_dataset(demo)
    after = inventory(demo)
    demo.screen.table(
        ("what the dataset had", "before", "after"),
        [(name, str(count), str(after[name])) for name, count in before.items()],
    )
    check(condition=not any(after.values()), message=f"these are left of the dataset: {_in_words(after)}")
    demo.screen.done(f"nothing is left ({_cached(demo)} texts stay in the embedding cache, which all datasets share)")
    return DeletionResult(before, {name: after[name] for name in before})


def _delete_document(demo: DemoContext, upload: Upload) -> None:
    event = DocumentDeleted(
        tenant_id=demo.knowledge.tenant_id,
        document_id=upload.document_id,
        dataset_id=demo.knowledge.dataset_id,
        doc_form="text_model",
        file_id=upload.file_id,
    )
    segments_before, vectors = inventory(demo)["document_segments"], demo.vectors()
    demo.in_transaction(lambda session: session.delete(session.get_one(Document, upload.document_id)), event)

    def cleaned() -> bool | None:
        execution = demo.execution(event.event_id, "clean-document")
        return True if execution is not None and execution.status == "success" else None

    demo.wait_for(cleaned, f"the clean-up after {upload.source.name}")
    deleted, deleted_vectors = segments_before - inventory(demo)["document_segments"], vectors - demo.vectors()
    file_exists = demo.run(demo.platform.storage.exists(upload.key))
    check(condition=deleted > 0, message=f"{upload.source.name} was deleted, but its segments are still there")
    check(
        condition=deleted == deleted_vectors, message=f"{deleted} segments are deleted, but {deleted_vectors} vectors"
    )
    check(condition=not file_exists, message=f"the file of {upload.source.name} is still in the storage")
    demo.screen.done(f"{upload.source.name} deleted: its {deleted} segments, their vectors and its file are gone")


def _delete_dataset(demo: DemoContext) -> None:
    """Delete the row and publish the event with the facts for clean-up, in one transaction."""
    knowledge = demo.knowledge
    with Session(demo.engine) as session:
        dataset = session.get_one(Dataset, knowledge.dataset_id)
        event = DatasetDeleted(
            tenant_id=knowledge.tenant_id,
            dataset_id=knowledge.dataset_id,
            indexing_technique=dataset.indexing_technique,
            index_struct=dataset.index_struct,
            collection_binding_id=dataset.collection_binding_id,
            doc_form="text_model",
        )
    demo.in_transaction(lambda session: session.delete(session.get_one(Dataset, knowledge.dataset_id)), event)
    demo.wait_for(lambda: _dataset_cleaned(demo), "the last step of the clean-up after the dataset")


def _dataset_cleaned(demo: DemoContext) -> bool | None:
    """Return True if the last step of the clean-up has succeeded. Each step is an event; the last result says done."""
    query = select(executions.c.event_id).where(
        executions.c.handler == "clean-dataset",
        executions.c.status == "success",
        executions.c.tenant_id == demo.knowledge.tenant_id,
        executions.c.result["done"].as_boolean(),
    )
    with demo.engine.connect() as connection:
        return True if connection.execute(query).first() is not None else None


def inventory(demo: DemoContext) -> dict[str, int]:
    """Count everything of the dataset: rows of every platform table, vectors, files."""
    counts: dict[str, int] = {}
    with demo.engine.connect() as connection:
        for table in metadata.sorted_tables:
            owner = _owner(table, demo)
            if owner is not None:
                column, value = owner
                counts[table.name] = connection.execute(
                    select(func.count()).select_from(table).where(table.c[column] == value)
                ).scalar_one()
    counts[VECTORS] = demo.vectors()
    counts[FILES] = _files(demo)
    return counts


def _owner(table: Table, demo: DemoContext) -> tuple[str, str] | None:
    """Return the column and value that select a table's rows: by dataset, or by tenant, which has nothing else."""
    for column, value in (("dataset_id", demo.knowledge.dataset_id), ("tenant_id", demo.knowledge.tenant_id)):
        if column in table.c:
            return column, value
    return None


def _cached(demo: DemoContext) -> int:
    with demo.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(Embedding)).scalar_one()


def _files(demo: DemoContext) -> int:
    """Count the files of the demo's tenant in the storage, which is a folder. Others may use it too."""
    folder = Path(demo.settings.storage_url.removeprefix("file:"))
    return sum(1 for path in folder.rglob("*") if demo.knowledge.tenant_id in path.parts and path.is_file())


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
