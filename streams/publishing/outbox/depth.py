"""How much waits in the outbox, and since when: asked often, so nothing here reads more than it has to."""

from sqlalchemy import Connection, text

from streams.observability.outbox_metrics import OutboxDepth

COUNTED = 100_000
"""Rows that are counted at most: more is shown as this."""
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
    """What may go out now and waits, what is set aside, and since when the oldest waits (from when it was due)."""
    waiting, set_aside, oldest = connection.execute(DEPTH, {"counted": COUNTED}).one()
    return OutboxDepth(waiting=waiting, set_aside=set_aside, oldest=None if oldest is None else float(oldest))
