"""Outbox rows that were set aside are counted and listed without reading the others."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index; the outbox takes no writes while it is built, which is short: it is nearly empty."""
    op.execute("create index outbox_set_aside on streams.outbox (failed_at) where failed_at is not null")


def downgrade() -> None:
    """Drop it: everything goes on."""
    op.execute("drop index streams.outbox_set_aside")
