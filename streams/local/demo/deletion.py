"""A document is deleted, then the dataset: row and event in one transaction, and nothing is left."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Table, func, select
from sqlalchemy.orm import Session

from schemas import DatasetDeleted, DocumentDeleted
from streams.database.tables import executions
from streams.dify.models import Dataset, Document, Embedding, metadata
from streams.local.demo.claims import claim
from streams.local.demo.rows import Upload
from streams.local.demo.stage import Stage

VECTORS = "vectors"
FILES = "files in the storage"


@dataclass(frozen=True, slots=True)
class Emptied:
    """What was there before the deletions and what was left after them, by table; stores beside them."""

    before: dict[str, int]
    after: dict[str, int]


def delete_everything(stage: Stage, first: Upload) -> Emptied:
    """Delete one document, then the dataset; wait until nothing of them is left. Raises ClaimError."""
    before = {name: count for name, count in inventory(stage).items() if count}
    _delete_document(stage, first)
    _delete_dataset(stage)
    after = inventory(stage)
    stage.screen.table(
        ("what the dataset had", "before", "after"),
        [(name, str(count), str(after[name])) for name, count in before.items()],
    )
    claim(holds=not any(after.values()), otherwise=f"of the dataset is left: {_in_words(after)}")
    stage.screen.done(f"nothing is left ({_cached(stage)} texts stay in the embedding cache, which all datasets share)")
    return Emptied(before, {name: after[name] for name in before})


def _delete_document(stage: Stage, upload: Upload) -> None:
    event = DocumentDeleted(
        tenant_id=stage.knowledge.tenant_id,
        document_id=upload.document_id,
        dataset_id=stage.knowledge.dataset_id,
        doc_form="text_model",
        file_id=upload.file_id,
    )
    had, vectors = inventory(stage)["document_segments"], stage.vectors()
    stage.in_transaction(lambda session: session.delete(session.get_one(Document, upload.document_id)), event)

    def cleaned() -> bool | None:
        execution = stage.execution(event.event_id, "clean-document")
        return True if execution is not None and execution.status == "success" else None

    stage.wait_for(cleaned, f"the clean-up after {upload.source.name}")
    gone, vectors_gone = had - inventory(stage)["document_segments"], vectors - stage.vectors()
    there = stage.run(stage.platform.storage.exists(upload.key))
    claim(holds=gone > 0, otherwise=f"{upload.source.name} was deleted, but its segments are still there")
    claim(holds=gone == vectors_gone, otherwise=f"{gone} segments are gone, but {vectors_gone} vectors")
    claim(holds=not there, otherwise=f"the file of {upload.source.name} is still in the storage")
    stage.screen.done(f"{upload.source.name} deleted: its {gone} segments, their vectors and its file are gone")


def _delete_dataset(stage: Stage) -> None:
    """The row goes with the event that carries what clean-up has to know of it."""
    knowledge = stage.knowledge
    with Session(stage.engine) as session:
        dataset = session.get_one(Dataset, knowledge.dataset_id)
        event = DatasetDeleted(
            tenant_id=knowledge.tenant_id,
            dataset_id=knowledge.dataset_id,
            indexing_technique=dataset.indexing_technique,
            index_struct=dataset.index_struct,
            collection_binding_id=dataset.collection_binding_id,
            doc_form="text_model",
        )
    stage.in_transaction(lambda session: session.delete(session.get_one(Dataset, knowledge.dataset_id)), event)
    stage.wait_for(lambda: _dataset_cleaned(stage), "the last step of the clean-up after the dataset")


def _dataset_cleaned(stage: Stage) -> bool | None:
    """Each step of the clean-up is an event of its own; the last one's result says that nothing is left."""
    query = select(executions.c.event_id).where(
        executions.c.handler == "clean-dataset",
        executions.c.status == "success",
        executions.c.tenant_id == stage.knowledge.tenant_id,
        executions.c.result["done"].as_boolean(),
    )
    with stage.engine.connect() as connection:
        return True if connection.execute(query).first() is not None else None


def inventory(stage: Stage) -> dict[str, int]:
    """What there is of the dataset: rows of every table of the platform, vectors, files."""
    counts: dict[str, int] = {}
    with stage.engine.connect() as connection:
        for table in metadata.sorted_tables:
            owner = _owner(table, stage)
            if owner is not None:
                column, value = owner
                counts[table.name] = connection.execute(
                    select(func.count()).select_from(table).where(table.c[column] == value)
                ).scalar_one()
    counts[VECTORS] = stage.vectors()
    counts[FILES] = _files(stage)
    return counts


def _owner(table: Table, stage: Stage) -> tuple[str, str] | None:
    """The column by which a table's rows belong to the dataset, or to the tenant, which has nothing else."""
    for column, value in (("dataset_id", stage.knowledge.dataset_id), ("tenant_id", stage.knowledge.tenant_id)):
        if column in table.c:
            return column, value
    return None


def _cached(stage: Stage) -> int:
    with stage.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(Embedding)).scalar_one()


def _files(stage: Stage) -> int:
    """Files in the demo's own storage, which is a folder."""
    folder = Path(stage.settings.storage_url.removeprefix("file:"))
    return sum(1 for path in folder.rglob("*") if path.is_file())


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
