"""Finds documents that are unfinished while no work for them is pending.

Their status stays `indexing` forever. Possible causes: the sender lost the request, or the failure of a dead letter
could not be recorded in the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class StuckDocument:
    """A document that has to be requested again."""

    id: str
    dataset_id: str
    tenant_id: str


FIND = text(
    """
    select d.id::text as id, d.dataset_id::text as dataset_id, d.tenant_id::text as tenant_id from documents as d
    where d.indexing_status in ('waiting', 'parsing', 'cleaning', 'splitting', 'indexing')
        and not coalesce(d.is_paused, false)
        and greatest(d.created_at, d.updated_at, d.processing_started_at, d.parsing_completed_at,
            d.cleaning_completed_at, d.splitting_completed_at)
            < (clock_timestamp() at time zone 'utc') - make_interval(secs => :seconds)
        and (cast(:only as text[]) is null or d.id::text = any(:only))
        and d.data_source_type in ('upload_file', 'notion_import', 'website_crawl')
        and exists (
            select 1 from datasets where id = d.dataset_id and runtime_mode is distinct from 'rag_pipeline'
        )
        and (
            d.created_at >= coalesce(
                cast(:since as timestamp), (select installed_at at time zone 'utc' from streams.installation)
            )
            or d.id::text in (
                select e.args->>'document_id' from streams.executions as e
                where e.topic = any(:topics) and e.args->>'document_id' is not null
            )
        )
        and not exists (
            select 1 from streams.executions as e
            where e.status in ('started', 'retry')
                and (e.args->>'document_id' = d.id::text or jsonb_exists(e.args->'document_ids', d.id::text))
        )
        and not exists (
            select 1 from streams.outbox as o
            where o.failed_at is null
                and o.key in (convert_to(d.id::text, 'UTF8'), convert_to(d.dataset_id::text, 'UTF8'))
        )
    order by d.created_at, d.id limit :limit
    """
)


async def find_stuck_documents(  # noqa: PLR0913 - one argument per filter
    session: AsyncSession,
    seconds: float,
    limit: int,
    *,
    topics: Sequence[str],
    since: datetime | None = None,
    only: Sequence[str] | None = None,
) -> list[StuckDocument]:
    """Return the oldest stuck documents: not changed for `seconds`, and in no execution and no outbox row.

    Documents of the platform's own queues are left out: of its pipelines, of sources that are not read here, and those
    that are older than this pipeline and whose request was never seen here. Celery may still load them: it also starts
    documents that have waited in its queue for long. This function cannot see records in Kafka. The caller has to check
    that no request is waiting there.

    Args:
        session: reads the platform's tables and the ledger.
        seconds: the time since the last change of the row.
        limit: the largest number of documents to return.
        topics: the names of the topics that request the indexing of one document.
        since: the time since which documents are indexed here; None: since the schema `streams` was created.
        only: the ids to check; None: all documents.
    """
    values = {
        "seconds": seconds,
        "limit": limit,
        "topics": list(topics),
        "since": None if since is None else _without_zone(since),
        "only": None if only is None else list(only),
    }
    rows = (await session.execute(FIND, values)).mappings()
    return [StuckDocument(row["id"], row["dataset_id"], row["tenant_id"]) for row in rows]


def _without_zone(time: datetime) -> datetime:
    """Return a time as the platform's columns have it. A time without a UTC offset is UTC."""
    return time.replace(tzinfo=None) if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
