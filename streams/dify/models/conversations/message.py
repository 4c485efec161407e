"""Messages of apps."""

from decimal import Decimal

from sqlalchemy import JSON, Index, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import FALSE, ZERO, CreatedAt, LongText, Model, String255, UuidKey, UuidText


class Message(Model):
    """A question and its answer, with their costs."""

    __tablename__ = "messages"
    __table_args__ = (
        Index("message_app_id_idx", "app_id", "created_at"),
        Index("message_conversation_id_idx", "conversation_id"),
        Index("message_end_user_idx", "app_id", "from_source", "from_end_user_id"),
        Index("message_account_idx", "app_id", "from_source", "from_account_id"),
        Index("message_workflow_run_id_idx", "conversation_id", "workflow_run_id"),
        Index("message_created_at_idx", "created_at"),
        Index("message_app_mode_idx", "app_mode"),
    )

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    model_provider: Mapped[String255 | None]
    model_id: Mapped[String255 | None]
    override_model_configs: Mapped[LongText | None]
    conversation_id: Mapped[UuidText]
    inputs: Mapped[dict[str, object]] = mapped_column(JSON)
    query: Mapped[LongText]
    message: Mapped[dict[str, object]] = mapped_column(JSON)
    message_tokens: Mapped[int] = mapped_column(server_default=ZERO)
    message_unit_price: Mapped[Decimal] = mapped_column(Numeric(10, 4))
    message_price_unit: Mapped[Decimal] = mapped_column(Numeric(10, 7), server_default=text("0.001"))
    answer: Mapped[LongText]
    answer_tokens: Mapped[int] = mapped_column(server_default=ZERO)
    answer_unit_price: Mapped[Decimal] = mapped_column(Numeric(10, 4))
    answer_price_unit: Mapped[Decimal] = mapped_column(Numeric(10, 7), server_default=text("0.001"))
    parent_message_id: Mapped[UuidText | None]
    provider_response_latency: Mapped[float] = mapped_column(server_default=ZERO)
    total_price: Mapped[Decimal | None] = mapped_column(Numeric(10, 7))
    currency: Mapped[String255]
    status: Mapped[String255] = mapped_column(server_default=text("'normal'"))
    error: Mapped[LongText | None]
    message_metadata: Mapped[LongText | None]
    invoke_from: Mapped[String255 | None]
    from_source: Mapped[String255]
    from_end_user_id: Mapped[UuidText | None]
    from_account_id: Mapped[UuidText | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    agent_based: Mapped[bool] = mapped_column(server_default=FALSE)
    workflow_run_id: Mapped[UuidText | None]
    app_mode: Mapped[String255 | None]
