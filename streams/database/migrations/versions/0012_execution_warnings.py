"""What a handler warns of while it succeeds."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. It has no default, so no row is written."""
    op.execute("alter table streams.executions add column warnings jsonb")
    op.execute("comment on column streams.executions.warnings is 'what the handler warns of: texts'")


def downgrade() -> None:
    """Drop the column and its contents."""
    op.execute("alter table streams.executions drop column warnings")
