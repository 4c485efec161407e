"""Tenants and the accounts that belong to them."""

from sqlalchemy import Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import FALSE, CreatedAt, LongText, Model, String255, UtcTime, UuidKey, UuidText


class Tenant(Model):
    """A workspace."""

    __tablename__ = "tenants"

    id: Mapped[UuidKey]
    name: Mapped[String255]
    encrypt_public_key: Mapped[LongText | None]
    plan: Mapped[String255] = mapped_column(server_default=text("'basic'"))
    status: Mapped[String255] = mapped_column(server_default=text("'normal'"))
    custom_config: Mapped[LongText | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class TenantAccountJoin(Model):
    """The membership and role of an account in a tenant."""

    __tablename__ = "tenant_account_joins"
    __table_args__ = (
        UniqueConstraint("tenant_id", "account_id", name="unique_tenant_account_join"),
        Index("tenant_account_join_account_id_idx", "account_id"),
        Index("tenant_account_join_tenant_id_idx", "tenant_id"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    account_id: Mapped[UuidText]
    current: Mapped[bool] = mapped_column(server_default=FALSE)
    role: Mapped[str] = mapped_column(String(16), server_default=text("'normal'"))
    invited_by: Mapped[UuidText | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class Account(Model):
    """A person."""

    __tablename__ = "accounts"
    __table_args__ = (Index("account_email_idx", "email"),)

    id: Mapped[UuidKey]
    name: Mapped[String255]
    email: Mapped[String255]
    password: Mapped[String255 | None]
    password_salt: Mapped[String255 | None]
    avatar: Mapped[String255 | None]
    interface_language: Mapped[String255 | None]
    interface_theme: Mapped[String255 | None]
    timezone: Mapped[String255 | None]
    last_login_at: Mapped[UtcTime | None]
    last_login_ip: Mapped[String255 | None]
    last_active_at: Mapped[CreatedAt]
    status: Mapped[str] = mapped_column(String(16), server_default=text("'active'"))
    initialized_at: Mapped[UtcTime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
