"""Measures the outbox: how many rows wait, and for how long. It runs often, so it reads as few rows as possible."""

from sqlalchemy import Connection, text

from streams.observability.outbox_metrics import OutboxDepth

MAX_COUNT = 100_000
"""The highest number that is counted. A larger outbox shows this number."""
DEPTH = text(
    """
    select
        (select count(*) from (
            (select 1 from streams.outbox where failed_at is null and due_at is null limit :counted)
            union all
            (select 1 from streams.outbox where failed_at is null and due_at <= statement_timestamp() limit :counted)
            limit :counted
        ) as counted),
        (select count(*) from
            (select 1 from streams.outbox where failed_at is not null limit :counted) as counted),
        (select extract(epoch from min(since)) from (
            (select created_at as since from streams.outbox where failed_at is null and due_at is null
             order by id limit 1)
            union all
            (select due_at from streams.outbox where failed_at is null and due_at <= statement_timestamp()
             order by due_at limit 1)
        ) as oldest)
    """
)


def measure_depth(connection: Connection) -> OutboxDepth:
    """Return the number of rows that wait and that are set aside, and since when the oldest due row waits."""
    waiting, set_aside, oldest = connection.execute(DEPTH, {"counted": MAX_COUNT}).one()
    return OutboxDepth(waiting=waiting, set_aside=set_aside, oldest=None if oldest is None else float(oldest))
