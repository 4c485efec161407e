"""Who replayed a dead letter, and by which command."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. It has no default, so no row is written."""
    op.execute("alter table streams.dead_letters add column replayed_by text")
    op.execute("comment on column streams.dead_letters.replayed_by is 'account@host: command (role of the database)'")


def downgrade() -> None:
    """Drop the column and its contents."""
    op.execute("alter table streams.dead_letters drop column replayed_by")
