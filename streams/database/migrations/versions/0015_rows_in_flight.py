"""The rows that the relay has sent when it releases its lock, so that nobody withdraws them."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Its default is a constant, so no row is written. A relay of the version before ignores it."""
    op.execute("alter table streams.relay add column in_flight bigint[] not null default '{}'")
    op.execute(
        "comment on column streams.relay.in_flight is"
        " 'ids of outbox rows that were sent and not answered when the lock was released'"
    )


def downgrade() -> None:
    """Drop the column. Until then, relays of this version must have ended."""
    op.execute("alter table streams.relay drop column in_flight")
