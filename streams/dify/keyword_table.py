"""The keyword index of an economy dataset: one row a dataset, JSON text in the platform's form.

The platform reads that row whole and writes it whole, so what two workers add at once is lost. Here the row is locked
in the step's transaction and merged by one statement in the database: a document's entries are exchanged for those of
its segments, others stay. The statement says the same on every run, so it may be repeated.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import DatasetKeywordTable, DocumentSegment, utc_now
from streams.dify.refusals import NotBuiltYetError
from streams.dify.standing import Generation

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


async def put_document(session: AsyncSession, generation: Generation) -> None:
    """The document is found by the keywords of this indexing's segments, and by no others. Raises NotBuiltYetError."""
    dataset_id = generation.dataset_id
    new = insert(DatasetKeywordTable).values(dataset_id=dataset_id, keyword_table=_EMPTY, data_source_type="database")
    await session.execute(new.on_conflict_do_nothing(index_elements=["dataset_id"]))
    await _exchange(session, dataset_id, generation.document_id, made_at=generation.started_at)


async def take_document(session: AsyncSession, dataset_id: str, document_id: str) -> None:
    """The document, whose segments are still there, is found by no keyword. Raises NotBuiltYetError."""
    await _exchange(session, dataset_id, document_id, made_at=None)


async def _exchange(session: AsyncSession, dataset_id: str, document_id: str, *, made_at: datetime | None) -> None:
    kind = await session.scalar(
        select(DatasetKeywordTable.data_source_type)
        .where(DatasetKeywordTable.dataset_id == dataset_id)
        .with_for_update()
    )
    if kind is None:
        return
    if kind != "database":
        message = f"the dataset's keyword table is kept as {kind!r}; only 'database' is built"
        raise NotBuiltYetError(message)
    await session.execute(_EXCHANGE, {"dataset_id": dataset_id, "document_id": document_id, "made_at": made_at})


async def nodes_by_keywords(
    session: AsyncSession, dataset_id: str, keywords: Sequence[str], k: int
) -> list[tuple[str, int]]:
    """The k nodes with most of the keywords, and how many they have, best first."""
    wanted = list(dict.fromkeys(keywords))
    rows = await session.execute(_FIND, {"dataset_id": dataset_id, "keywords": wanted, "k": k})
    return [(node, hits) for node, hits in rows]


async def segments_without_keywords(session: AsyncSession, generation: Generation) -> list[str]:
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


async def complete_segments(session: AsyncSession, generation: Generation) -> None:
    """The table knows the segments: they can be found."""
    await session.execute(
        update(DocumentSegment)
        .where(generation.segments, DocumentSegment.completed_at.is_(None))
        .values(status="completed", enabled=True, completed_at=utc_now(), error=None, stopped_at=None)
    )
