"""What tools keep for conversations."""

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import CreatedAt, LongText, Model, String255, UuidKey, UuidText


class ToolConversationVariable(Model):
    """The variables of the tools of a conversation, as JSON text."""

    __tablename__ = "tool_conversation_variables"
    __table_args__ = (Index("conversation_id_idx", "conversation_id"), Index("user_id_idx", "user_id"))

    id: Mapped[UuidKey]
    user_id: Mapped[UuidText]
    tenant_id: Mapped[UuidText]
    conversation_id: Mapped[UuidText]
    variables_str: Mapped[LongText]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class ToolFile(Model):
    """A file that a tool made. It is in the storage."""

    __tablename__ = "tool_files"
    __table_args__ = (Index("tool_file_conversation_id_idx", "conversation_id"),)

    id: Mapped[UuidKey]
    user_id: Mapped[UuidText]
    tenant_id: Mapped[UuidText]
    conversation_id: Mapped[UuidText | None]
    file_key: Mapped[String255]
    """The name in the storage."""
    mimetype: Mapped[String255]
    original_url: Mapped[str | None] = mapped_column(String(2048))
    name: Mapped[str] = mapped_column(String)
    size: Mapped[int]
    """Bytes."""
