"""Tags of apps and datasets."""

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import CreatedAt, Model, String255, UuidKey, UuidText


class Tag(Model):
    """A tag of a tenant."""

    __tablename__ = "tags"
    __table_args__ = (Index("tag_name_idx", "name"), Index("tag_type_idx", "type"))

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText | None]
    type: Mapped[str] = mapped_column(String(16))
    """app or knowledge."""
    name: Mapped[String255]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]


class TagBinding(Model):
    """An app or a dataset has a tag."""

    __tablename__ = "tag_bindings"
    __table_args__ = (Index("tag_bind_tag_id_idx", "tag_id"), Index("tag_bind_target_id_idx", "target_id"))

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText | None]
    tag_id: Mapped[UuidText | None]
    target_id: Mapped[UuidText | None]
    """An app or a dataset, as the tag's type says."""
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
