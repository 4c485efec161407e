"""Sites of apps, and the apps that a tenant has installed."""

from sqlalchemy import JSON, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import FALSE, TRUE, CreatedAt, LongText, Model, String255, UtcTime, UuidKey, UuidText


class Site(Model):
    """The public page of an app. The app is not unique."""

    __tablename__ = "sites"
    __table_args__ = (Index("site_app_id_idx", "app_id"), Index("site_code_idx", "code", "status"))

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    title: Mapped[String255]
    icon: Mapped[String255 | None]
    icon_background: Mapped[String255 | None]
    description: Mapped[LongText | None]
    default_language: Mapped[String255]
    copyright: Mapped[String255 | None]
    privacy_policy: Mapped[String255 | None]
    customize_domain: Mapped[String255 | None]
    customize_token_strategy: Mapped[String255]
    prompt_public: Mapped[bool] = mapped_column(server_default=FALSE)
    status: Mapped[String255] = mapped_column(server_default=text("'normal'"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    code: Mapped[String255 | None]
    """The code in the address of the site. No constraint keeps it unique."""
    custom_disclaimer: Mapped[LongText] = mapped_column(default="")
    """The database has no default for it: an INSERT has to give it."""
    show_workflow_steps: Mapped[bool] = mapped_column(server_default=TRUE)
    chat_color_theme: Mapped[String255 | None]
    chat_color_theme_inverted: Mapped[bool] = mapped_column(server_default=FALSE)
    icon_type: Mapped[String255 | None]
    created_by: Mapped[UuidText | None]
    updated_by: Mapped[UuidText | None]
    use_icon_as_answer_icon: Mapped[bool] = mapped_column(server_default=FALSE)


class InstalledApp(Model):
    """An app that a tenant has in its list, its own or another tenant's."""

    __tablename__ = "installed_apps"
    __table_args__ = (
        Index("installed_app_app_id_idx", "app_id"),
        Index("installed_app_tenant_id_idx", "tenant_id"),
        UniqueConstraint("tenant_id", "app_id", name="unique_tenant_app"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    app_id: Mapped[UuidText]
    app_owner_tenant_id: Mapped[UuidText]
    position: Mapped[int] = mapped_column(default=0)
    """The database has no default for it: an INSERT has to give it."""
    is_pinned: Mapped[bool] = mapped_column(server_default=FALSE)
    last_used_at: Mapped[UtcTime | None]
    created_at: Mapped[CreatedAt]


class RecommendedApp(Model):
    """An app that the platform recommends to all tenants."""

    __tablename__ = "recommended_apps"
    __table_args__ = (
        Index("recommended_app_app_id_idx", "app_id"),
        Index("recommended_app_is_listed_idx", "is_listed", "language"),
    )

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    description: Mapped[object] = mapped_column(JSON)
    copyright: Mapped[String255]
    privacy_policy: Mapped[String255]
    category: Mapped[String255]
    position: Mapped[int]
    is_listed: Mapped[bool]
    install_count: Mapped[int]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    language: Mapped[String255] = mapped_column(server_default=text("'en-US'"))
    custom_disclaimer: Mapped[LongText]
