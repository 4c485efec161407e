"""Schedules and their slots."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table streams.schedules (
        name text primary key,
        topic text not null,
        args jsonb not null default '{}',
        cron text,
        every double precision,
        timezone text not null default 'UTC',
        overlap text not null default 'skip',
        catch_up double precision not null,
        jitter double precision not null default 0,
        enabled boolean not null,
        origin text not null,
        paused_at timestamptz,
        changed_by text,
        removed_at timestamptz,
        next_slot timestamptz,
        error text,
        constraint schedules_overlap check (overlap in ('skip', 'queue', 'allow')),
        constraint schedules_origin check (origin in ('code', 'operator')),
        constraint schedules_cron_or_every check ((cron is null) <> (every is null))
    )
    """,
    "create index schedules_next on streams.schedules (next_slot)",
    """
    create table streams.slots (
        schedule text not null,
        slot timestamptz not null,
        kind text not null,
        status text not null,
        event_id uuid,
        topic text,
        claimed_by text,
        claimed_at timestamptz not null default clock_timestamp(),
        started_at timestamptz,
        completed_at timestamptz,
        detail text,
        primary key (schedule, slot),
        constraint slots_kind check (kind in ('timer', 'trigger', 'backfill')),
        constraint slots_status
            check (status in ('pending', 'started', 'retry', 'success', 'failure', 'missed', 'skipped'))
    )
    """,
    """
    create index slots_open on streams.slots (schedule, slot) where status in ('pending', 'started', 'retry')
    """,
    "create index slots_event on streams.slots (event_id) where event_id is not null",
    "create index slots_claimed on streams.slots (claimed_at)",
    "comment on column streams.schedules.topic is 'of the event, without the prefix'",
    "comment on column streams.schedules.args is 'fields of the event'",
    "comment on column streams.schedules.cron is 'five fields; null: an interval'",
    "comment on column streams.schedules.every is 'seconds; null: a cron line'",
    "comment on column streams.schedules.catch_up is 'seconds that a slot may be late and still runs'",
    "comment on column streams.schedules.jitter is 'most seconds that a run is put off'",
    "comment on column streams.schedules.enabled is 'its setting'",
    "comment on column streams.schedules.origin is 'code: a worker''s start may change the row'",
    "comment on column streams.schedules.paused_at is 'null: not paused'",
    "comment on column streams.schedules.changed_by is 'account@host: command (role of the database)'",
    "comment on column streams.schedules.removed_at is 'a default that an operator removed stays removed'",
    "comment on column streams.schedules.next_slot is 'null: not computed yet'",
    "comment on column streams.schedules.error is 'why the row is not understood; it is tried again every minute'",
    "comment on column streams.slots.slot is 'the instant at which it is due'",
    "comment on column streams.slots.kind is 'timer, trigger or backfill'",
    (
        "comment on column streams.slots.event_id is "
        "'the last event of the run; null: it waits for the run before it, or never ran'"
    ),
    "comment on column streams.slots.topic is 'of that event, with the prefix'",
    "comment on column streams.slots.detail is 'why it was skipped, missed or failed'",
)


def upgrade() -> None:
    """Create the tables. The workers write the default schedules when they start."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables, with the history of all schedules."""
    op.execute("drop table streams.slots, streams.schedules")
