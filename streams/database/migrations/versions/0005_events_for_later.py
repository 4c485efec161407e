"""Whose the events in the outbox are, and an index by which those for later are found again."""

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
    """Add the column, which older senders leave empty, and the index, which only events for later pay for."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them: everything goes on."""
    op.execute("drop index streams.outbox_scheduled")
    op.execute("alter table streams.outbox drop column tenant_id")
