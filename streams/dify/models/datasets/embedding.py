"""The embedding cache."""

from sqlalchemy import Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import CreatedAt, Model, String255, UuidKey


class Embedding(Model):
    """One text's vector by one model; `hash` is the sha256 of the text, `embedding` a pickled list of floats."""

    __tablename__ = "embeddings"
    __table_args__ = (
        UniqueConstraint("model_name", "hash", "provider_name", name="embedding_hash_idx"),
        Index("created_at_idx", "created_at"),
    )

    id: Mapped[UuidKey]
    model_name: Mapped[String255] = mapped_column(server_default=text("'text-embedding-ada-002'"))
    hash: Mapped[str] = mapped_column(String(64))
    embedding: Mapped[bytes]
    created_at: Mapped[CreatedAt]
    provider_name: Mapped[String255] = mapped_column(server_default=text("''"))
