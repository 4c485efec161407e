"""The keyword index of an economy dataset: one row a dataset, JSON text in the platform's form.

The platform reads that row whole and writes it whole, so what two workers add at once is lost. Here the row is locked
in the step's transaction and merged by one statement in the database: a document's entries are exchanged for those of
its segments, others stay. The statement says the same on every run, so it may be repeated.

A table that the platform keeps as a file is taken into its row by the first who locks it; from then on the platform
uses the row too. The file goes with the next lock, once that is committed.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import exists, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun
from streams.dify.keywords.file import keyword_file, read_table
from streams.dify.models import ChildChunk, DatasetKeywordTable, DocumentSegment, utc_now
from streams.storage import FileMissingError, Storage

_EMPTY = '{"__type__": "keyword_table", "__data__": {"index_id": null, "summary": null, "table": {}}}'
_EXCHANGE = text(
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
                        and created_at = cast(:made_at as timestamp)
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
_SWEEP = text(
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


async def put_document(session: AsyncSession, storage: Storage, generation: IndexingRun) -> None:
    """The document is found by the keywords of this indexing's segments, and by no others.

    Raises FileMissingError or RefusedError where the table is kept as a file that is not there or no such table.
    """
    dataset_id = generation.dataset_id
    new = insert(DatasetKeywordTable).values(dataset_id=dataset_id, keyword_table=_EMPTY, data_source_type="database")
    await session.execute(new.on_conflict_do_nothing(index_elements=["dataset_id"]))
    if await _lock(session, storage, generation.tenant_id, dataset_id):
        await _exchange(session, generation, made_at=generation.started_at)


async def take_document(session: AsyncSession, storage: Storage, generation: IndexingRun) -> None:
    """The document, whose segments are still there, is found by no keyword. Raises as `put_document`."""
    if await _lock(session, storage, generation.tenant_id, generation.dataset_id):
        await _exchange(session, generation, made_at=None)


async def sweep(session: AsyncSession, storage: Storage, tenant_id: str, dataset_id: str) -> int:
    """Nodes that no segment of the dataset has any more are found by no keyword; says how many that were.

    It looks for no document in particular, so it finds what a clean-up before it has left too. Raises RefusedError.
    """
    try:
        there = await _lock(session, storage, tenant_id, dataset_id)
    except FileMissingError:
        return 0
    orphans = await count_orphans(session, dataset_id) if there else 0
    if orphans:
        await session.execute(_SWEEP, {"dataset_id": dataset_id})
    return orphans


async def count_orphans(session: AsyncSession, dataset_id: str) -> int:
    """Nodes in the row's table that no segment of the dataset has."""
    return await session.scalar(_ORPHANS, {"dataset_id": dataset_id}) or 0


async def _exchange(session: AsyncSession, generation: IndexingRun, *, made_at: datetime | None) -> None:
    asked = {"dataset_id": generation.dataset_id, "document_id": generation.document_id, "made_at": made_at}
    await session.execute(_EXCHANGE, asked)


async def _lock(session: AsyncSession, storage: Storage, tenant_id: str, dataset_id: str) -> bool:
    """Lock the row until the transaction ends, the table in it; False: there is none. Once a transaction."""
    row = DatasetKeywordTable.dataset_id == dataset_id
    kind = await session.scalar(select(DatasetKeywordTable.data_source_type).where(row).with_for_update())
    if kind is None:
        return False
    key = keyword_file(tenant_id, dataset_id)
    if kind == "database":
        # Whoever took the file into the row has committed that.
        await storage.delete(key)
    else:
        kept = await _table_in(session, storage, key, dataset_id)
        await session.execute(
            update(DatasetKeywordTable).where(row).values(keyword_table=kept, data_source_type="database")
        )
    return True


async def _table_in(session: AsyncSession, storage: Storage, key: str, dataset_id: str) -> str:
    """A file's table; one that was never written is empty."""
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
    """The k nodes with most of the keywords, and how many they have, best first."""
    wanted = list(dict.fromkeys(keywords))
    rows = await session.execute(_FIND, {"dataset_id": dataset_id, "keywords": wanted, "k": k})
    return [(node, hits) for node, hits in rows]


async def segments_without_keywords(session: AsyncSession, generation: IndexingRun) -> list[str]:
    """The ids of the segments whose keywords are to be found, in the document's order."""
    rows = await session.scalars(
        select(DocumentSegment.id)
        .where(generation.segments, DocumentSegment.completed_at.is_(None), DocumentSegment.keywords.is_(None))
        .order_by(DocumentSegment.position, DocumentSegment.id)
    )
    return list(rows)


async def contents_of(session: AsyncSession, segment_ids: Sequence[str]) -> dict[str, str]:
    """The contents of segments, by their ids."""
    rows = await session.execute(
        select(DocumentSegment.id, DocumentSegment.content).where(DocumentSegment.id.in_(segment_ids))
    )
    return {row.id: row.content for row in rows}


async def write_keywords(session: AsyncSession, found: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Keep each segment's keywords."""
    rows = [{"id": segment_id, "keywords": list(keywords)} for segment_id, keywords in found]
    await session.execute(update(DocumentSegment), rows)


async def complete_segments(session: AsyncSession, generation: IndexingRun) -> None:
    """The table knows the segments: they can be found."""
    await session.execute(
        update(DocumentSegment)
        .where(generation.segments, DocumentSegment.completed_at.is_(None))
        .values(status="completed", enabled=True, completed_at=utc_now(), error=None, stopped_at=None)
    )
    await session.execute(
        update(ChildChunk)
        .where(generation.children, ChildChunk.completed_at.is_(None))
        .values(completed_at=utc_now(), error=None)
    )
