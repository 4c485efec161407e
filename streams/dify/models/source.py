"""External sources that a tenant has connected."""

from sqlalchemy import Index, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import FALSE, CreatedAt, Model, UuidKey, UuidText


class DataSourceOauthBinding(Model):
    """A workspace of a provider, such as Notion, and its access token."""

    __tablename__ = "data_source_oauth_bindings"
    __table_args__ = (
        Index("source_binding_tenant_id_idx", "tenant_id"),
        Index("source_info_idx", "source_info", postgresql_using="gin"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    access_token: Mapped[str] = mapped_column(String(255))
    provider: Mapped[str] = mapped_column(String(255))
    source_info: Mapped[dict[str, object]] = mapped_column(JSONB)
    """{"workspace_id": ..., "workspace_name": ..., "pages": [...]}"""
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    disabled: Mapped[bool | None] = mapped_column(server_default=FALSE)
