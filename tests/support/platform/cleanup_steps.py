"""Runs clean-ups directly, step by step, and counts what they leave."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, func, select, text

from schemas import (
    AppDeleted,
    ConversationDeleted,
    DatasetDeleted,
    DocumentDeleted,
    DocumentsDeleted,
    DocumentsRemovalRequested,
    Event,
)
from streams.agents.apps.cleanup import clean_app, clean_conversation
from streams.agents.knowledge.dataset_cleanup import clean_dataset
from streams.agents.knowledge.document_cleanup import clean_documents, remove_documents
from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.database.tables import SCHEMA, answered_chunks, outbox
from streams.delivery.handler import Handler
from streams.dify.errors import LeftBehindError
from streams.dify.models import (
    AppDatasetJoin,
    ChildChunk,
    Dataset,
    DatasetAutoDisableLog,
    DatasetMetadata,
    DatasetMetadataBinding,
    DatasetProcessRule,
    DatasetQuery,
    Document,
    DocumentSegment,
    UploadFile,
    metadata,
)
from streams.dify.sources.reference import upload_file_id
from tests.support.platform.handler_runs import CrashError, Site, prose, storage_folder

CLEANERS: dict[type[Event], Handler[Any]] = {
    DocumentDeleted: clean_document,
    DatasetDeleted: clean_dataset,
    DocumentsDeleted: clean_documents,
    DocumentsRemovalRequested: remove_documents,
    AppDeleted: clean_app,
    ConversationDeleted: clean_conversation,
}
DOCUMENT_TABLES = (ChildChunk, DatasetAutoDisableLog, DatasetMetadataBinding, DocumentSegment)
DATASET_TABLES = (*DOCUMENT_TABLES, AppDatasetJoin, DatasetMetadata, DatasetProcessRule, DatasetQuery, Document)


async def settle(site: Site, *events: Event) -> list[dict[str, Any]]:
    """Run the events and all events that are due after them. Returns the result of each run."""
    results: list[dict[str, Any]] = []
    waiting = list(events)
    while waiting:
        assert len(results) < 300, "the steps do not end"
        one = waiting.pop(0)
        result = await site.run(CLEANERS[type(one)], one)
        assert isinstance(result, dict)
        results.append(result)
        waiting += await asked_for(site)
    return results


async def asked_for(site: Site) -> list[Event]:
    """Return the events of the outbox that are due now. Later ones stay there."""
    async with site.transaction() as session:
        at_once = outbox.delete().where(outbox.c.due_at.is_(None)).returning(outbox.c.topic, outbox.c.value)
        rows = (await session.execute(at_once)).all()
    return [site.codec.decode(topic, value) for topic, value in rows]


async def add_full(site: Site, dataset: Dataset, paragraphs: int = 3) -> Document:
    """Add an indexed document with a row in every table that can refer to one."""
    document = await site.add_document(dataset, prose(paragraphs), name=f"{uuid4()}.txt")
    await site.run(index_document, site.request(document))
    owned: dict[str, Any] = {"tenant_id": site.tenant_id, "dataset_id": dataset.id, "document_id": document.id}
    segments = await site.segments(document.id)
    await site.add(
        DatasetMetadataBinding(**owned, metadata_id=str(uuid4()), created_by=dataset.created_by),
        DatasetAutoDisableLog(**owned),
        *(
            ChildChunk(
                **owned, segment_id=one.id, position=1, content="child", word_count=5, created_by=dataset.created_by
            )
            for one in segments
        ),
        await image(site, found_in=document.id),
    )
    async with site.transaction() as session:
        answer = {"dataset_id": dataset.id, "document_id": document.id, "key": "k", "pairs": []}
        await session.execute(answered_chunks.insert().values(answer))
    return document


async def add_to_dataset(site: Site, dataset: Dataset) -> None:
    """Add a row in every other table that can refer to a dataset."""
    of_tenant: dict[str, Any] = {
        "dataset_id": dataset.id,
        "tenant_id": site.tenant_id,
        "created_by": dataset.created_by,
    }
    await site.add(
        AppDatasetJoin(dataset_id=dataset.id, app_id=str(uuid4())),
        DatasetMetadata(**of_tenant, type="string", name="author"),
        DatasetQuery(
            dataset_id=dataset.id, content="?", source="app", created_by_role="account", created_by=dataset.created_by
        ),
        DatasetProcessRule(dataset_id=dataset.id, mode="automatic", created_by=dataset.created_by),
    )


async def image(site: Site, found_in: str | None = None, folder: str = "image_files") -> UploadFile:
    """Return an image and write its file. Its row is not added yet. `found_in` is the document of its source_url."""
    file_id = str(uuid4())
    key = f"{folder}/{site.tenant_id}/{file_id}.png"
    await site.platform.storage.write(key, b"snapshot")
    return UploadFile(
        id=file_id,
        tenant_id=site.tenant_id,
        storage_type="local",
        key=key,
        name="snapshot.png",
        size=7,
        extension="png",
        created_by=str(uuid4()),
        source_url=f"document:{found_in}" if found_in else "",
    )


def source_file(document: Document) -> str:
    """Return the upload file of a document."""
    return upload_file_id(document.data_source_type, document.data_source_info)


async def left(site: Site, **ids: str) -> dict[str, int]:
    """Count the rows of every table that has the columns, and the vectors of the dataset or document; without zeros."""
    counts = {}
    async with site.transaction() as session:
        for table in (*metadata.sorted_tables, answered_chunks):
            if all(name in table.c for name in ids):
                query = select(func.count()).select_from(table)
                counts[table.name] = await session.scalar(query.filter_by(**ids)) or 0
        for dataset_id in {ids.get("dataset_id")} - {None}:
            assert dataset_id is not None
            collection = site.collection(dataset_id)
            counts["vectors"] = await site.platform.vectors.count(
                session, collection, document_id=ids.get("document_id")
            )
    return {name: count for name, count in counts.items() if count}


def stored(site: Site) -> set[str]:
    """Return the keys of all files in the storage."""
    folder = storage_folder(site)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def crash_at_each_statement(
    site: Site, deletion: Event, check: Callable[[int], Awaitable[None]] | None = None
) -> int:
    """Crash before the first statement of the clean-up, in a second run before the second statement, and so on.

    Returns the number of statements. The last run succeeds.
    """
    sync = site.database.effects.sync_engine
    handler, statement, died = CLEANERS[type(deletion)], 0, True
    while died:
        statement += 1
        seen = 0

        def kill(*_: object, at: int = statement) -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                raise CrashError

        event.listen(sync, "before_cursor_execute", kill)
        try:
            await site.commit(handler, deletion)
            died = False
        except CrashError:
            died = True
        finally:
            event.remove(sync, "before_cursor_execute", kill)
        if not died:
            await site.update_keys()
        if died and check is not None:
            await check(statement)
    return statement - 1


async def leftover_error(site: Site, deletion: Event, table: str, on: str = "delete") -> str:
    """Return the error of the clean-up when a DELETE (or UPDATE) silently skips the rows of a table."""
    async with site.transaction() as session:
        await session.execute(
            text("create or replace function keep() returns trigger language plpgsql as 'begin return null; end'")
        )
        await session.execute(
            text(f"create trigger keep before {on} on {_qualified(table)} for each row execute function keep()")
        )
    with pytest.raises(LeftBehindError) as found:
        await site.run(CLEANERS[type(deletion)], deletion)
    async with site.transaction() as session:
        await session.execute(text(f"drop trigger keep on {_qualified(table)}"))
    return str(found.value)


def _qualified(table: str) -> str:
    return f'{SCHEMA}."{table}"' if table == answered_chunks.name else f'"{table}"'


async def deleted_after_each_step(site: Site, dataset: Dataset) -> AsyncIterator[Document]:
    """Index documents that are deleted after the first, second, … step, and clean each of them up. Yields it then.

    The last one is deleted too late to stop its indexing.
    """
    step, stopped = 0, True
    while stopped:
        step += 1
        document = await site.add_document(dataset, prose(4))

        async def remove(done: int, at: int = step, document_id: str = document.id) -> None:
            if done == at:
                await site.delete(Document, id=document_id)

        result = await site.run(index_document, site.request(document), after_step=remove)
        stopped = result == {"skipped": "the document is gone"}
        await site.delete(Document, id=document.id)
        await site.run(clean_document, site.document_deleted(document))
        yield document


async def assert_delete_wins(site: Site) -> None:
    """Check that no vector is left of a document that is deleted after the first, second, … step."""
    dataset = await site.add_dataset()
    steps = 0
    async for _ in deleted_after_each_step(site, dataset):
        steps += 1
        assert await site.vectors(dataset.id) == 0
    assert steps > 4
