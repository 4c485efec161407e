"""How an app is called from outside, and by whom."""

from sqlalchemy import Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import (
    TRUE,
    CreatedAt,
    CreatedExactlyAt,
    LongText,
    Model,
    String255,
    UtcTime,
    UuidKey,
    UuidText,
)


class ApiToken(Model):
    """A key for the API of an app, or of the datasets of a tenant."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        Index("api_token_app_id_type_idx", "app_id", "type"),
        Index("api_token_tenant_idx", "tenant_id", "type"),
        Index("api_token_token_idx", "token", "type"),
    )

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText | None]
    type: Mapped[str] = mapped_column(String(16))
    """app or dataset."""
    token: Mapped[String255]
    last_used_at: Mapped[UtcTime | None]
    created_at: Mapped[CreatedAt]
    tenant_id: Mapped[UuidText | None]


class AppMcpServer(Model):
    """An app that is offered as a server of the Model Context Protocol."""

    __tablename__ = "app_mcp_servers"
    __table_args__ = (
        UniqueConstraint("server_code", name="unique_app_mcp_server_server_code"),
        UniqueConstraint("tenant_id", "app_id", name="unique_app_mcp_server_tenant_app_id"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    app_id: Mapped[UuidText]
    name: Mapped[String255]
    description: Mapped[String255]
    server_code: Mapped[String255]
    status: Mapped[String255] = mapped_column(server_default=text("'normal'"))
    parameters: Mapped[LongText]
    created_at: Mapped[CreatedExactlyAt]
    updated_at: Mapped[CreatedExactlyAt]


class EndUser(Model):
    """A person who uses an app without an account."""

    __tablename__ = "end_users"
    __table_args__ = (
        Index("end_user_session_id_idx", "session_id", "type"),
        Index("end_user_tenant_session_id_idx", "tenant_id", "session_id", "type"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    app_id: Mapped[UuidText | None]
    type: Mapped[String255]
    external_user_id: Mapped[String255 | None]
    name: Mapped[String255 | None]
    is_anonymous: Mapped[bool] = mapped_column(server_default=TRUE)
    session_id: Mapped[String255]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
