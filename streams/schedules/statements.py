"""The statements on the tables of schedules and slots. Who changes a schedule or its slots holds a lock on its row."""

from sqlalchemy import text

CANDIDATES = text(
    """
    select name, topic from streams.schedules
    where removed_at is null and enabled and paused_at is null
        and (next_slot is null or next_slot <= clock_timestamp())
    union
    select s.name, s.topic from (
        select distinct schedule from streams.slots where status in ('pending', 'started', 'retry')
    ) open join streams.schedules s on s.name = open.schedule
    """
)
"""The schedules that have something to do: a slot is due, a run has not ended, or a slot waits."""
LOCK = text("select *, clock_timestamp() as now from streams.schedules where name = :name for update skip locked")
"""Another worker that holds the lock does what is to be done."""
LOCK_AND_WAIT = text("select *, clock_timestamp() as now from streams.schedules where name = :name for update")
OPEN_SLOTS = text(
    """
    select slot, kind, status, event_id, topic, started_at from streams.slots
    where schedule = :schedule and status in ('pending', 'started', 'retry') order by slot
    """
)
EXECUTIONS = text(
    """
    select event_id, handler, status, started_at, completed_at, error from streams.executions
    where day = any(cast(:days as date[])) and event_id = any(cast(:ids as uuid[]))
    """
)
UPDATE_SLOT = text(
    """
    update streams.slots set status = :status, started_at = :started_at, completed_at = :completed_at, detail = :detail
    where schedule = :schedule and slot = :slot and event_id = :event_id returning slot
    """
)
"""Does nothing if a step has published the next event since the slot was read."""
INSERT_SLOT = text(
    """
    insert into streams.slots (schedule, slot, kind, status, event_id, topic, claimed_by, detail)
    values (:schedule, :slot, :kind, :status, :event_id, :topic, :claimed_by, :detail)
    on conflict do nothing returning slot
    """
)
START_SLOT = text(
    """
    update streams.slots set event_id = :event_id, topic = :topic, claimed_by = :claimed_by,
        claimed_at = clock_timestamp()
    where schedule = :schedule and slot = :slot
    """
)
LAST_CLAIMED = text("select max(slot) from streams.slots where schedule = :schedule and kind = 'timer'")
DROP_WAITING = text(
    """
    update streams.slots set status = 'skipped', detail = :detail
    where schedule = :schedule and status = 'pending' and event_id is null
    """
)
SET_NEXT = text("update streams.schedules set next_slot = :next, error = null where name = :name")
SET_ERROR = text(
    """
    update streams.schedules set error = :error, next_slot = clock_timestamp() + make_interval(secs => :seconds)
    where name = :name
    """
)
REGISTER = text(
    """
    insert into streams.schedules as s
        (name, topic, args, cron, every, timezone, overlap, catch_up, jitter, enabled, origin)
    values (:name, :topic, cast(:args as jsonb), :cron, :every, :timezone, :overlap, :catch_up, :jitter, :enabled,
        'code')
    on conflict (name) do update set
        topic = excluded.topic, args = excluded.args, cron = excluded.cron, every = excluded.every,
        timezone = excluded.timezone, overlap = excluded.overlap, catch_up = excluded.catch_up,
        jitter = excluded.jitter, enabled = excluded.enabled, error = null,
        next_slot = case
            when (s.cron, s.every, s.timezone) is not distinct from (excluded.cron, excluded.every, excluded.timezone)
                and s.enabled and s.error is null then s.next_slot
        end
    where s.origin = 'code' and s.removed_at is null and
        (s.topic, s.args, s.cron, s.every, s.timezone, s.overlap, s.catch_up, s.jitter, s.enabled)
        is distinct from (excluded.topic, excluded.args, excluded.cron, excluded.every, excluded.timezone,
            excluded.overlap, excluded.catch_up, excluded.jitter, excluded.enabled)
    returning name
    """
)
"""Writes a default. What an operator has changed or removed stays. A schedule that was off has no late slots."""
DELETE_OLD_SLOTS = text(
    """
    delete from streams.slots where (schedule, slot) in (
        select schedule, slot from streams.slots
        where claimed_at < :before and status not in ('pending', 'started', 'retry')
        order by claimed_at limit :limit for update skip locked
    )
    """
)
