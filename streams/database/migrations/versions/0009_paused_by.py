"""Who paused a topic or a handler, and by which command."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. It has no default, so no row is written."""
    op.execute("alter table streams.pauses add column paused_by text")
    op.execute("comment on column streams.pauses.paused_by is 'account@host: command (role of the database)'")


def downgrade() -> None:
    """Drop the column and its contents."""
    op.execute("alter table streams.pauses drop column paused_by")
