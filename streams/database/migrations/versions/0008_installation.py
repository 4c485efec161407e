"""The time at which the pipeline was installed. Documents of an earlier time are the platform's own work."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its one row."""
    op.execute(
        """
        create table streams.installation (
            id smallint primary key,
            installed_at timestamptz not null default clock_timestamp()
        )
        """
    )
    op.execute("comment on column streams.installation.installed_at is 'when the platform''s work moves here'")
    op.execute("insert into streams.installation (id) values (1)")


def downgrade() -> None:
    """Drop the table."""
    op.execute("drop table streams.installation")
