"""Apps, their configurations, and the datasets that they use."""

from sqlalchemy import JSON, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import (
    EMPTY,
    FALSE,
    ZERO,
    CreatedAt,
    CreatedExactlyAt,
    LongText,
    Model,
    String255,
    UuidKey,
    UuidText,
)


class App(Model):
    """An app of a tenant."""

    __tablename__ = "apps"
    __table_args__ = (Index("app_tenant_id_idx", "tenant_id"),)

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    name: Mapped[String255]
    description: Mapped[LongText] = mapped_column(server_default=EMPTY)
    mode: Mapped[String255]
    icon_type: Mapped[String255 | None]
    icon: Mapped[String255 | None]
    icon_background: Mapped[String255 | None]
    app_model_config_id: Mapped[UuidText | None]
    workflow_id: Mapped[UuidText | None]
    status: Mapped[String255] = mapped_column(server_default=text("'normal'"))
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


class AppModelConfig(Model):
    """A version of the configuration of an app without a workflow. Most of its texts are JSON."""

    __tablename__ = "app_model_configs"
    __table_args__ = (Index("app_app_id_idx", "app_id"),)

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    provider: Mapped[String255 | None]
    model_id: Mapped[String255 | None]
    configs: Mapped[dict[str, object] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    opening_statement: Mapped[LongText | None]
    suggested_questions: Mapped[LongText | None]
    suggested_questions_after_answer: Mapped[LongText | None]
    more_like_this: Mapped[LongText | None]
    model: Mapped[LongText | None]
    user_input_form: Mapped[LongText | None]
    pre_prompt: Mapped[LongText | None]
    agent_mode: Mapped[LongText | None]
    """JSON text; its tools can name datasets."""
    speech_to_text: Mapped[LongText | None]
    sensitive_word_avoidance: Mapped[LongText | None]
    retriever_resource: Mapped[LongText | None]
    dataset_query_variable: Mapped[String255 | None]
    prompt_type: Mapped[String255] = mapped_column(server_default=text("'simple'"))
    chat_prompt_config: Mapped[LongText | None]
    completion_prompt_config: Mapped[LongText | None]
    dataset_configs: Mapped[LongText | None]
    """JSON text: {"datasets": {"datasets": [{"dataset": {"id": ...}}]}, ...}"""
    external_data_tools: Mapped[LongText | None]
    file_upload: Mapped[LongText | None]
    text_to_speech: Mapped[LongText | None]
    created_by: Mapped[UuidText | None]
    updated_by: Mapped[UuidText | None]
