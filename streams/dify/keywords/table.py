"""The keyword index of an economy dataset: one row per dataset, JSON text in the platform's form.

The platform reads and writes the whole row, so concurrent changes of two workers get lost. Here a step locks the row
and changes it with one statement in the database: the entries of a document are replaced by those of its segments, the
others stay. The statement is idempotent.

A table that the platform stores as a file is copied into its row by the first step that locks it. From then on the
platform uses the row too. The next step that locks the row deletes the file, because the copy is committed by then.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, exists, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun
from streams.dify.keywords.file import keyword_file, read_table
from streams.dify.models import ChildChunk, DatasetKeywordTable, DocumentSegment, metadata, utc_now
from streams.storage import FileMissingError, Storage

_EMPTY = '{"__type__": "keyword_table", "__data__": {"index_id": null, "summary": null, "table": {}}}'
_REPLACE_ENTRIES = text(
    """
    update dataset_keyword_tables as kept set keyword_table = jsonb_build_object(
        '__type__', 'keyword_table',
        '__data__', jsonb_build_object('index_id', cast(:dataset_id as text), 'summary', null, 'table', (
            select coalesce(jsonb_object_agg(keyword, nodes), '{}') from (
                select keyword, jsonb_agg(node order by node) as nodes from (
                    select entry.key as keyword, node
                    from jsonb_each(
                            coalesce(nullif(kept.keyword_table, '')::jsonb #> '{__data__,table}', '{}')
                        ) as entry,
                        jsonb_array_elements_text(entry.value) as node
                    where node not in (
                        select index_node_id from document_segments
                        where document_id = :document_id and index_node_id is not null
                    )
                    union
                    select keyword, index_node_id
                    from document_segments, json_array_elements_text(keywords) as keyword
                    where document_id = :document_id and index_node_id is not null
                        and (
                            created_at = cast(:made_at as timestamp)
                            or (:enabled and enabled and status = 'completed')
                        )
                ) as pairs group by keyword
            ) as grouped
        ))
    )::text
    where dataset_id = :dataset_id
    """
)
_ORPHANS = text(
    """
    select count(*) from (
        select distinct node
        from dataset_keyword_tables as kept,
            jsonb_each(coalesce(nullif(kept.keyword_table, '')::jsonb #> '{__data__,table}', '{}')) as entry,
            jsonb_array_elements_text(entry.value) as node
        where kept.dataset_id = :dataset_id
    ) as nodes
    where not exists (
        select from document_segments as segment
        where segment.dataset_id = :dataset_id and segment.index_node_id = nodes.node
    )
    """
)
_REMOVE_ORPHANS = text(
    """
    update dataset_keyword_tables as kept set keyword_table = jsonb_build_object(
        '__type__', 'keyword_table',
        '__data__', jsonb_build_object('index_id', cast(:dataset_id as text), 'summary', null, 'table', (
            select coalesce(jsonb_object_agg(keyword, nodes), '{}') from (
                select entry.key as keyword, jsonb_agg(node order by node) as nodes
                from jsonb_each(coalesce(nullif(kept.keyword_table, '')::jsonb #> '{__data__,table}', '{}')) as entry,
                    jsonb_array_elements_text(entry.value) as node
                where node in (
                    select index_node_id from document_segments
                    where dataset_id = :dataset_id and index_node_id is not null
                )
                group by entry.key
            ) as grouped
        ))
    )::text
    where dataset_id = :dataset_id
    """
)
_COUNT_NODES = text(
    """
    select count(distinct node)
    from dataset_keyword_tables as kept,
        jsonb_each(coalesce(nullif(kept.keyword_table, '')::jsonb #> '{__data__,table}', '{}')) as entry,
        jsonb_array_elements_text(entry.value) as node
    where kept.dataset_id = :dataset_id and node = any(cast(:nodes as text[]))
    """
)
_REMOVE_NODES = text(
    """
    update dataset_keyword_tables as kept set keyword_table = jsonb_build_object(
        '__type__', 'keyword_table',
        '__data__', jsonb_build_object('index_id', cast(:dataset_id as text), 'summary', null, 'table', (
            select coalesce(jsonb_object_agg(keyword, nodes), '{}') from (
                select entry.key as keyword, jsonb_agg(node order by node) as nodes
                from jsonb_each(coalesce(nullif(kept.keyword_table, '')::jsonb #> '{__data__,table}', '{}')) as entry,
                    jsonb_array_elements_text(entry.value) as node
                where node <> all(cast(:nodes as text[]))
                group by entry.key
            ) as grouped
        ))
    )::text
    where dataset_id = :dataset_id
    """
)
_FIND = text(
    """
    select node, count(*) as hits
    from dataset_keyword_tables,
        unnest(cast(:keywords as text[])) as keyword,
        jsonb_array_elements_text(nullif(keyword_table, '')::jsonb #> array['__data__', 'table', keyword]) as node
    where dataset_id = :dataset_id
    group by node order by hits desc, node limit :k
    """
)


async def add_to_table(session: AsyncSession, storage: Storage, run: IndexingRun) -> None:
    """Replace the document's keywords by those of this run's segments.

    Raises FileMissingError or RefusedError if the table is a file that does not exist or is not a keyword table.
    """
    await _create(session, run.dataset_id)
    if await _lock(session, storage, run.tenant_id, run.dataset_id):
        await _replace_entries(session, run, made_at=run.started_at)


async def set_enabled_entries(session: AsyncSession, storage: Storage, run: IndexingRun) -> None:
    """Replace the document's keywords by those of all its enabled and complete segments.

    Raises the same errors as `add_to_table`.
    """
    await _create(session, run.dataset_id)
    if await _lock(session, storage, run.tenant_id, run.dataset_id):
        await _replace_entries(session, run, made_at=None, enabled=True)


async def remove_from_table(session: AsyncSession, storage: Storage, run: IndexingRun) -> None:
    """Remove the document from the table. Its segments still exist. Raises the same errors as `add_to_table`."""
    if await _lock(session, storage, run.tenant_id, run.dataset_id):
        await _replace_entries(session, run, made_at=None)


async def remove_orphans(session: AsyncSession, storage: Storage, tenant_id: str, dataset_id: str) -> int:
    """Remove nodes that belong to no segment of the dataset. Returns their number.

    It also finds nodes that earlier clean-ups left. Raises RefusedError.
    """
    try:
        locked = await _lock(session, storage, tenant_id, dataset_id)
    except FileMissingError:
        return 0
    orphans = await count_orphans(session, dataset_id) if locked else 0
    if orphans:
        await session.execute(_REMOVE_ORPHANS, {"dataset_id": dataset_id})
    return orphans


async def remove_nodes(
    session: AsyncSession, storage: Storage, tenant_id: str, dataset_id: str, nodes: Sequence[str]
) -> int:
    """Remove nodes whose segments are deleted. Returns the number of nodes that the table had. Raises RefusedError."""
    try:
        locked = bool(nodes) and await _lock(session, storage, tenant_id, dataset_id)
    except FileMissingError:
        return 0
    parameters = {"dataset_id": dataset_id, "nodes": list(nodes)}
    found: int = (await session.scalar(_COUNT_NODES, parameters) or 0) if locked else 0
    if found:
        await session.execute(_REMOVE_NODES, parameters)
    return found


async def count_orphans(session: AsyncSession, dataset_id: str) -> int:
    """Return the number of nodes in the table that belong to no segment of the dataset."""
    return await session.scalar(_ORPHANS, {"dataset_id": dataset_id}) or 0


async def _create(session: AsyncSession, dataset_id: str) -> None:
    new = insert(DatasetKeywordTable).values(dataset_id=dataset_id, keyword_table=_EMPTY, data_source_type="database")
    await session.execute(new.on_conflict_do_nothing(index_elements=["dataset_id"]))


async def _replace_entries(
    session: AsyncSession, run: IndexingRun, *, made_at: datetime | None, enabled: bool = False
) -> None:
    parameters = {
        "dataset_id": run.dataset_id,
        "document_id": run.document_id,
        "made_at": made_at,
        "enabled": enabled,
    }
    await session.execute(_REPLACE_ENTRIES, parameters)


async def _lock(session: AsyncSession, storage: Storage, tenant_id: str, dataset_id: str) -> bool:
    """Lock the row until the transaction ends and load the table into it. Returns False if there is no row.

    Call it once per transaction.
    """
    row = DatasetKeywordTable.dataset_id == dataset_id
    kind = await session.scalar(select(DatasetKeywordTable.data_source_type).where(row).with_for_update())
    if kind is None:
        return False
    key = keyword_file(tenant_id, dataset_id)
    if kind == "database":
        # The transaction that copied the file into the row has committed.
        await storage.delete(key)
    else:
        kept = await _table_in(session, storage, key, dataset_id)
        await session.execute(
            update(DatasetKeywordTable).where(row).values(keyword_table=kept, data_source_type="database")
        )
    return True


async def _table_in(session: AsyncSession, storage: Storage, key: str, dataset_id: str) -> str:
    """Return the table of a file. A table that was never written is empty."""
    try:
        return await read_table(storage, key)
    except FileMissingError:
        known = DocumentSegment.keywords.is_not(None) & (DocumentSegment.status == "completed")
        if await session.scalar(select(exists().where(DocumentSegment.dataset_id == dataset_id, known))):
            raise
        return _EMPTY


async def nodes_by_keywords(
    session: AsyncSession, dataset_id: str, keywords: Sequence[str], k: int
) -> list[tuple[str, int]]:
    """Return the k nodes with the most keywords, and their number of keywords, best first."""
    wanted = list(dict.fromkeys(keywords))
    rows = await session.execute(_FIND, {"dataset_id": dataset_id, "keywords": wanted, "k": k})
    return [(node, hits) for node, hits in rows]


async def segments_without_keywords(session: AsyncSession, run: IndexingRun) -> list[str]:
    """Return the ids of the segments without keywords, in document order."""
    rows = await session.scalars(
        select(DocumentSegment.id)
        .where(run.segments, DocumentSegment.completed_at.is_(None), DocumentSegment.keywords.is_(None))
        .order_by(DocumentSegment.position, DocumentSegment.id)
    )
    return list(rows)


async def segment_contents(session: AsyncSession, segment_ids: Sequence[str]) -> dict[str, str]:
    """Return the contents of segments by id."""
    rows = await session.execute(
        select(DocumentSegment.id, DocumentSegment.content).where(DocumentSegment.id.in_(segment_ids))
    )
    return {row.id: row.content for row in rows}


async def write_keywords(session: AsyncSession, found: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Write the keywords of segments that have none. What a person has given meanwhile stays."""
    table = metadata.tables[DocumentSegment.__tablename__]
    statement = (
        update(table)
        .where(table.c.id == bindparam("segment"), table.c.keywords.is_(None))
        .values(keywords=bindparam("found"))
    )
    rows = [{"segment": segment_id, "found": list(keywords)} for segment_id, keywords in found]
    await (await session.connection()).execute(statement, rows)


async def complete_segments(session: AsyncSession, run: IndexingRun) -> None:
    """Mark the segments as complete. The table contains them, so they can be found."""
    await session.execute(
        update(DocumentSegment)
        .where(run.segments, DocumentSegment.completed_at.is_(None))
        .values(status="completed", enabled=True, completed_at=utc_now(), error=None, stopped_at=None)
    )
    await session.execute(
        update(ChildChunk)
        .where(run.children, ChildChunk.completed_at.is_(None))
        .values(completed_at=utc_now(), error=None)
    )
