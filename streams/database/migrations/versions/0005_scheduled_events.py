"""The tenants of the events in the outbox, and an index for scheduled events."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    "alter table streams.outbox add column tenant_id text",
    "create index outbox_scheduled on streams.outbox (event_id) where due_at is not null",
)


def upgrade() -> None:
    """Add the column, which older senders leave empty, and the index, which contains only scheduled events."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the column and the index. Publishing continues."""
    op.execute("drop index streams.outbox_scheduled")
    op.execute("alter table streams.outbox drop column tenant_id")
