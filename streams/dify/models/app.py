"""Apps, and the datasets that they use."""

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import FALSE, ZERO, CreatedAt, CreatedExactlyAt, LongText, Model, UuidKey, UuidText

EMPTY = text("''::character varying")


class App(Model):
    """An app of a tenant."""

    __tablename__ = "apps"
    __table_args__ = (Index("app_tenant_id_idx", "tenant_id"),)

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[LongText] = mapped_column(server_default=EMPTY)
    mode: Mapped[str] = mapped_column(String(255))
    icon_type: Mapped[str | None] = mapped_column(String(255))
    icon: Mapped[str | None] = mapped_column(String(255))
    icon_background: Mapped[str | None] = mapped_column(String(255))
    app_model_config_id: Mapped[UuidText | None]
    workflow_id: Mapped[UuidText | None]
    status: Mapped[str] = mapped_column(String(255), server_default=text("'normal'"))
    enable_site: Mapped[bool]
    enable_api: Mapped[bool]
    api_rpm: Mapped[int] = mapped_column(server_default=ZERO)
    api_rph: Mapped[int] = mapped_column(server_default=ZERO)
    is_demo: Mapped[bool] = mapped_column(server_default=FALSE)
    is_public: Mapped[bool] = mapped_column(server_default=FALSE)
    is_universal: Mapped[bool] = mapped_column(server_default=FALSE)
    tracing: Mapped[LongText | None]
    max_active_requests: Mapped[int | None]
    created_by: Mapped[UuidText | None]
    created_at: Mapped[CreatedAt]
    updated_by: Mapped[UuidText | None]
    updated_at: Mapped[CreatedAt]
    use_icon_as_answer_icon: Mapped[bool] = mapped_column(server_default=FALSE)


class AppDatasetJoin(Model):
    """An app uses a dataset. The pair is not unique."""

    __tablename__ = "app_dataset_joins"
    __table_args__ = (Index("app_dataset_join_app_dataset_idx", "dataset_id", "app_id"),)

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    dataset_id: Mapped[UuidText]
    created_at: Mapped[CreatedExactlyAt]
