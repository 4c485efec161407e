"""Conversations and their variables."""

from sqlalchemy import JSON, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import (
    FALSE,
    ZERO,
    CreatedAt,
    CreatedExactlyAt,
    LongText,
    Model,
    String255,
    UtcTime,
    UuidKey,
    UuidText,
)


class Conversation(Model):
    """A conversation of a user with an app."""

    __tablename__ = "conversations"
    __table_args__ = (Index("conversation_app_from_user_idx", "app_id", "from_source", "from_end_user_id"),)

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    app_model_config_id: Mapped[UuidText | None]
    model_provider: Mapped[String255 | None]
    override_model_configs: Mapped[LongText | None]
    model_id: Mapped[String255 | None]
    mode: Mapped[String255]
    name: Mapped[String255]
    summary: Mapped[LongText | None]
    inputs: Mapped[dict[str, object]] = mapped_column(JSON)
    introduction: Mapped[LongText | None]
    system_instruction: Mapped[LongText | None]
    system_instruction_tokens: Mapped[int] = mapped_column(server_default=ZERO)
    status: Mapped[String255]
    from_source: Mapped[String255]
    from_end_user_id: Mapped[UuidText | None]
    from_account_id: Mapped[UuidText | None]
    read_at: Mapped[UtcTime | None]
    read_account_id: Mapped[UuidText | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    is_deleted: Mapped[bool] = mapped_column(server_default=FALSE)
    invoke_from: Mapped[String255 | None]
    dialogue_count: Mapped[int] = mapped_column(server_default=ZERO)


class PinnedConversation(Model):
    """A user has pinned a conversation."""

    __tablename__ = "pinned_conversations"
    __table_args__ = (
        Index("pinned_conversation_conversation_idx", "app_id", "conversation_id", "created_by_role", "created_by"),
    )

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    conversation_id: Mapped[UuidText]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    created_by_role: Mapped[String255] = mapped_column(server_default=text("'end_user'"))


class WorkflowConversationVariable(Model):
    """A variable that a workflow keeps for a conversation; `data` is JSON text."""

    __tablename__ = "workflow_conversation_variables"
    __table_args__ = (
        Index("workflow_conversation_variables_app_id_idx", "app_id"),
        Index("workflow_conversation_variables_conversation_id_idx", "conversation_id"),
        Index("workflow_conversation_variables_created_at_idx", "created_at"),
    )

    id: Mapped[UuidText] = mapped_column(primary_key=True)
    conversation_id: Mapped[UuidText] = mapped_column(primary_key=True)
    app_id: Mapped[UuidText]
    data: Mapped[LongText]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedExactlyAt]
