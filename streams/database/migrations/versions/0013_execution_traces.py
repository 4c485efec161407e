"""The trace of a delivery."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. It has no default, so no row is written."""
    op.execute("alter table streams.executions add column trace_id uuid")
    op.execute("comment on column streams.executions.trace_id is 'the trace of the event, from its traceparent'")


def downgrade() -> None:
    """Drop the column and its contents."""
    op.execute("alter table streams.executions drop column trace_id")
