"""Model providers and their quotas."""

from sqlalchemy import BigInteger, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import (
    FALSE,
    CreatedAt,
    CreatedExactlyAt,
    LongText,
    Model,
    OrderedUuidKey,
    String255,
    UtcTime,
    UuidKey,
    UuidText,
)


class Provider(Model):
    """A tenant's access to a model provider: its own (`custom`), or the platform's (`system`) with a quota."""

    __tablename__ = "providers"
    __table_args__ = (
        Index("provider_tenant_id_provider_idx", "tenant_id", "provider_name"),
        UniqueConstraint(
            "tenant_id", "provider_name", "provider_type", "quota_type", name="unique_provider_name_type_quota"
        ),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    provider_name: Mapped[String255]
    provider_type: Mapped[str] = mapped_column(String(40), server_default=text("'custom'"))
    is_valid: Mapped[bool] = mapped_column(server_default=FALSE)
    last_used: Mapped[UtcTime | None]
    credential_id: Mapped[UuidText | None]
    quota_type: Mapped[str | None] = mapped_column(String(40), server_default=text("''"))
    """paid, free or trial; empty for custom."""
    quota_limit: Mapped[int | None] = mapped_column(BigInteger)
    quota_used: Mapped[int | None] = mapped_column(BigInteger, default=0)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    credential_status: Mapped[str | None] = mapped_column(String(20), server_default=text("'active'"))


class ProviderCredential(Model):
    """A credential of a tenant for a model provider, encrypted with its key."""

    __tablename__ = "provider_credentials"
    __table_args__ = (Index("provider_credential_tenant_provider_idx", "tenant_id", "provider_name"),)

    id: Mapped[OrderedUuidKey]
    tenant_id: Mapped[UuidText]
    provider_name: Mapped[String255]
    credential_name: Mapped[String255]
    encrypted_config: Mapped[LongText]
    created_at: Mapped[CreatedExactlyAt]
    updated_at: Mapped[CreatedExactlyAt]


class ProviderModel(Model):
    """A model that a tenant has set up by itself, beside those of the provider's credential."""

    __tablename__ = "provider_models"
    __table_args__ = (
        Index("provider_model_tenant_id_provider_idx", "tenant_id", "provider_name"),
        UniqueConstraint("tenant_id", "provider_name", "model_name", "model_type", name="unique_provider_model_name"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    provider_name: Mapped[String255]
    model_name: Mapped[String255]
    model_type: Mapped[str] = mapped_column(String(40))
    is_valid: Mapped[bool] = mapped_column(server_default=FALSE)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    credential_id: Mapped[UuidText | None]


class ProviderModelCredential(Model):
    """A credential of a tenant for one model, encrypted with its key."""

    __tablename__ = "provider_model_credentials"
    __table_args__ = (
        Index(
            "provider_model_credential_tenant_provider_model_idx",
            "tenant_id",
            "provider_name",
            "model_name",
            "model_type",
        ),
    )

    id: Mapped[OrderedUuidKey]
    tenant_id: Mapped[UuidText]
    provider_name: Mapped[String255]
    model_name: Mapped[String255]
    model_type: Mapped[str] = mapped_column(String(40))
    credential_name: Mapped[String255]
    encrypted_config: Mapped[LongText]
    created_at: Mapped[CreatedExactlyAt]
    updated_at: Mapped[CreatedExactlyAt]


class TenantDefaultModel(Model):
    """The model that a tenant uses for a type where none is named."""

    __tablename__ = "tenant_default_models"
    __table_args__ = (
        Index("tenant_default_model_tenant_id_provider_type_idx", "tenant_id", "provider_name", "model_type"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    provider_name: Mapped[String255]
    model_name: Mapped[String255]
    model_type: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
