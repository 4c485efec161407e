"""An index that counts and lists outbox rows that were set aside without reading the others."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index. The outbox accepts no writes for a short time: it is nearly empty."""
    op.execute("create index outbox_set_aside on streams.outbox (failed_at) where failed_at is not null")


def downgrade() -> None:
    """Drop the index. Publishing continues."""
    op.execute("drop index streams.outbox_set_aside")
