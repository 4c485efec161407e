"""Files in the storage."""

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import FALSE, CreatedAt, LongText, Model, UtcTime, UuidKey, UuidText


class UploadFile(Model):
    """A file that a user uploaded, or an image that extraction found. `key` is its name in the storage."""

    __tablename__ = "upload_files"
    __table_args__ = (Index("upload_file_tenant_idx", "tenant_id"),)

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    storage_type: Mapped[str] = mapped_column(String(255))
    key: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(255))
    size: Mapped[int]
    """Bytes."""
    extension: Mapped[str] = mapped_column(String(255))
    mime_type: Mapped[str | None] = mapped_column(String(255))
    created_by_role: Mapped[str] = mapped_column(String(255), server_default=text("'account'"))
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    used: Mapped[bool] = mapped_column(server_default=FALSE)
    used_by: Mapped[UuidText | None]
    used_at: Mapped[UtcTime | None]
    hash: Mapped[str | None] = mapped_column(String(255))
    source_url: Mapped[LongText] = mapped_column(server_default=text("''::character varying"))
