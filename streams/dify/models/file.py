"""Files in the storage."""

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import EMPTY, FALSE, CreatedAt, LongText, Model, String255, UtcTime, UuidKey, UuidText


class UploadFile(Model):
    """A file that a user uploaded, or an image that extraction found. `key` is its name in the storage."""

    __tablename__ = "upload_files"
    __table_args__ = (Index("upload_file_tenant_idx", "tenant_id"),)

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    storage_type: Mapped[String255]
    key: Mapped[String255]
    name: Mapped[String255]
    size: Mapped[int]
    """Bytes."""
    extension: Mapped[String255]
    mime_type: Mapped[String255 | None]
    created_by_role: Mapped[String255] = mapped_column(server_default=text("'account'"))
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    used: Mapped[bool] = mapped_column(server_default=FALSE)
    used_by: Mapped[UuidText | None]
    used_at: Mapped[UtcTime | None]
    hash: Mapped[String255 | None]
    source_url: Mapped[LongText] = mapped_column(server_default=EMPTY)
