"""External sources that a tenant has connected."""

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import (
    FALSE,
    CreatedAt,
    CreatedExactlyAt,
    LongText,
    Model,
    OrderedUuidKey,
    String255,
    UuidKey,
    UuidText,
)


class DataSourceOauthBinding(Model):
    """A workspace of a provider, such as Notion, and its access token."""

    __tablename__ = "data_source_oauth_bindings"
    __table_args__ = (
        Index("source_binding_tenant_id_idx", "tenant_id"),
        Index("source_info_idx", "source_info", postgresql_using="gin"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    access_token: Mapped[String255]
    provider: Mapped[String255]
    source_info: Mapped[dict[str, object]] = mapped_column(JSONB)
    """{"workspace_id": ..., "workspace_name": ..., "pages": [...]}"""
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    disabled: Mapped[bool | None] = mapped_column(server_default=FALSE)


class DatasourceProvider(Model):
    """A credential of a tenant for a source of documents, encrypted with its key."""

    __tablename__ = "datasource_providers"
    __table_args__ = (
        Index("datasource_provider_auth_type_provider_idx", "tenant_id", "plugin_id", "provider"),
        UniqueConstraint("tenant_id", "plugin_id", "provider", "name", name="datasource_provider_unique_name"),
    )

    id: Mapped[OrderedUuidKey]
    tenant_id: Mapped[UuidText]
    name: Mapped[String255]
    provider: Mapped[String255]
    plugin_id: Mapped[String255]
    auth_type: Mapped[String255]
    encrypted_credentials: Mapped[dict[str, object]] = mapped_column(JSONB)
    avatar_url: Mapped[LongText | None]
    is_default: Mapped[bool] = mapped_column(server_default=FALSE)
    expires_at: Mapped[int] = mapped_column(server_default=text("-1"))
    """Seconds since 1970; -1 for credentials that do not expire."""
    created_at: Mapped[CreatedExactlyAt]
    updated_at: Mapped[CreatedExactlyAt]
