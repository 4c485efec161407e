"""Pauses by operators, the breakers of each worker, and indexes for listing executions."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table streams.pauses (
        kind text not null,
        name text not null,
        since timestamptz not null default clock_timestamp(),
        primary key (kind, name),
        constraint pauses_kind check (kind in ('topic', 'handler'))
    )
    """,
    """
    create table streams.breakers (
        worker text not null,
        dependency text not null,
        state text not null,
        failures int not null,
        retry_at timestamptz,
        error text,
        seen_at timestamptz not null default clock_timestamp(),
        primary key (worker, dependency)
    )
    """,
    "drop index streams.executions_handler_status",
    "create index executions_topic on streams.executions (topic, created_at)",
    "create index executions_tenant on streams.executions (left(tenant_id, 64), created_at)",
    "create index executions_unfinished on streams.executions (status, created_at) where status <> 'success'",
    "comment on column streams.breakers.failures is 'consecutive ones'",
    "comment on column streams.breakers.seen_at is 'when the worker last told; one that is gone tells no more'",
)


def upgrade() -> None:
    """Create the tables and indexes. The ledger accepts no writes while the indexes are built."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables and indexes. All paused work is resumed."""
    op.execute("drop table streams.breakers, streams.pauses")
    op.execute("drop index streams.executions_topic, streams.executions_tenant, streams.executions_unfinished")
    op.execute("create index executions_handler_status on streams.executions (handler, status, created_at)")
