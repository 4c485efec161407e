"""Questions and answers of a document that is being indexed, kept between attempts."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table streams.answered_chunks (
        document_id uuid not null,
        key text not null,
        dataset_id uuid not null,
        pairs jsonb not null,
        primary key (document_id, key)
    )
    """,
    "create index answered_chunks_dataset on streams.answered_chunks (dataset_id)",
    "comment on column streams.answered_chunks.key is 'hash of model, language and chunk'",
    "comment on column streams.answered_chunks.pairs is '[[question, answer], …]'",
)


def upgrade() -> None:
    """Create the table."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the table. An indexing in progress asks its questions again."""
    op.execute("drop table streams.answered_chunks")
