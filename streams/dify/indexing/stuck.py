"""Finds documents that are unfinished while no work for them is pending.

Their status stays `indexing` forever. Possible causes: the platform's own queue lost the task, a request was published
before the pipeline was installed, or the failure of a dead letter could not be recorded in the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
        and exists (select 1 from datasets where id = d.dataset_id)
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


async def find_stuck_documents(
    session: AsyncSession, seconds: float, limit: int, only: Sequence[str] | None = None
) -> list[StuckDocument]:
    """Return the oldest stuck documents: not changed for `seconds`, and in no execution and no outbox row.

    This function cannot see records in Kafka. The caller has to check that no request is waiting there.

    Args:
        session: reads the platform's tables and the ledger.
        seconds: the time since the last change of the row.
        limit: the largest number of documents to return.
        only: the ids to check; None: all documents.
    """
    values = {"seconds": seconds, "limit": limit, "only": None if only is None else list(only)}
    rows = (await session.execute(FIND, values)).mappings()
    return [StuckDocument(row["id"], row["dataset_id"], row["tenant_id"]) for row in rows]
