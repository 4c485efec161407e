"""Tables of the crash-loop guard: starts at an offset, and deliveries that ran when their process crashed."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table streams.partition_starts (
        group_id text not null,
        topic text not null,
        partition int not null,
        next_offset bigint not null,
        starts int not null,
        worker text not null,
        started_at timestamptz not null default clock_timestamp(),
        primary key (group_id, topic, partition)
    )
    """,
    """
    create table streams.suspects (
        group_id text not null,
        topic text not null,
        partition int not null,
        "offset" bigint not null,
        handler text not null,
        runs int not null,
        worker text not null,
        begun_at timestamptz not null default clock_timestamp(),
        primary key (group_id, topic, partition, "offset", handler)
    )
    """,
    "comment on column streams.partition_starts.starts is 'assignments at this offset without a clean end between'",
    "comment on column streams.suspects.runs is 'runs alone that have begun; the row goes when one ends'",
)


def upgrade() -> None:
    """Create the tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables. Counting starts again."""
    op.execute("drop table streams.suspects, streams.partition_starts")
