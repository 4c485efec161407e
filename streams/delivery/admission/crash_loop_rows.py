"""The statements of the crash-loop guard: starts of assignments, and suspects."""

from collections.abc import Collection

from sqlalchemy import text

from streams.transport.kafka.records import Assignment, Record

DECODING = ""
"""The handler's name of a suspect that is decoded."""
SUSPECT_RETENTION = "7 days"
"""How long the row of a suspect is kept if no worker runs its delivery again."""

# A row that is there means that its owner crashed, wherever this assignment begins: this start is at least the second.
UPSERT_START = text(
    """
    insert into streams.partition_starts as s (group_id, topic, partition, next_offset, starts, worker)
    values (:group, :topic, :partition, :offset, 1, :worker)
    on conflict (group_id, topic, partition) do update set
        starts = case when s.next_offset = excluded.next_offset then s.starts + 1 else 2 end,
        next_offset = excluded.next_offset, worker = excluded.worker, started_at = clock_timestamp()
    returning starts, exists (
        select 1 from streams.suspects p where p.group_id = s.group_id and p.topic = s.topic
            and p.partition = s.partition and p."offset" >= s.next_offset
    ) as suspected
    """
)
DELETE_OLD_SUSPECTS = text(
    f"delete from streams.suspects where begun_at < clock_timestamp() - interval '{SUSPECT_RETENTION}'"  # noqa: S608 - a constant
)
DELETE_STARTS = text(
    """
    delete from streams.partition_starts s
    using unnest(cast(:groups as text[]), cast(:topics as text[]), cast(:partitions as int[]))
        as d(group_id, topic, partition)
    where s.group_id = d.group_id and s.topic = d.topic and s.partition = d.partition and s.worker = :worker
    """
)
DELETE_ALL_STARTS = text("delete from streams.partition_starts where worker = :worker")
SUSPECTS = text(
    """
    select "offset", handler from streams.suspects
    where group_id = :group and topic = :topic and partition = :partition and "offset" >= :offset
    """
)
UPSERT_SUSPECT = text(
    """
    insert into streams.suspects as s (group_id, topic, partition, "offset", handler, runs, worker)
    values (:group, :topic, :partition, :offset, :handler, 1, :worker)
    on conflict (group_id, topic, partition, "offset", handler) do update set
        runs = s.runs + 1, worker = excluded.worker, begun_at = clock_timestamp()
    returning runs
    """
)
DELETE_SUSPECT = text(
    """
    delete from streams.suspects where group_id = :group and topic = :topic and partition = :partition
        and "offset" = :offset and handler = :handler
    """
)
UNDO_RUN = text(
    """
    with ended as (
        delete from streams.suspects where group_id = :group and topic = :topic and partition = :partition
            and "offset" = :offset and handler = :handler and worker = :worker and runs <= 1
    )
    update streams.suspects set runs = runs - 1, worker = '' where group_id = :group and topic = :topic
        and partition = :partition and "offset" = :offset and handler = :handler and worker = :worker and runs > 1
    """
)
"""Takes back a run that this worker began and did not end. Runs that ended with a crash stay."""


def columns_of(assignments: Collection[Assignment]) -> dict[str, object]:
    """Return the columns of the statement that deletes the starts of assignments."""
    return {
        "groups": [assignment.group_id for assignment in assignments],
        "topics": [assignment.topic for assignment in assignments],
        "partitions": [assignment.partition for assignment in assignments],
    }


def suspect_of(assignment: Assignment | None, record: Record, handler: str) -> dict[str, object]:
    """Return the key of a suspect's row."""
    return {
        "group": assignment.group_id if assignment else "",
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "handler": handler,
    }
