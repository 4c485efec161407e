"""The relay's statements."""

from sqlalchemy import text

LOCK = text("select in_flight from streams.relay for update skip locked")
NOTE_IN_FLIGHT = text("update streams.relay set in_flight = cast(:ids as bigint[])")
WAITING = text(
    """
    select id, event_id, topic, key, value, cast(headers as text) as headers from (
        select *, sum(octet_length(value)) over (order by id) - octet_length(value) as before from (
            (select id, event_id, topic, key, value, headers from streams.outbox
             where failed_at is null and due_at is null and (:everything or topic like '%.retry.%')
                 and topic <> all(cast(:skipped_topics as text[])) and id <> all(cast(:in_flight as bigint[]))
             order by id limit :batch)
            union all
            (select id, event_id, topic, key, value, headers from streams.outbox
             where failed_at is null and due_at <= statement_timestamp()
                 and topic <> all(cast(:skipped_topics as text[])) and id <> all(cast(:in_flight as bigint[]))
             order by due_at limit :batch)
            order by id limit :batch
        ) as waiting
    ) as measured
    where before is null or before < :room
    order by id
    """
)
HEARTBEAT = text("select 1")
ACKNOWLEDGED = text("delete from streams.outbox where id = any(:ids)")
SET_ASIDE = text("update streams.outbox set failed_at = clock_timestamp(), error = :error where id = :id")
