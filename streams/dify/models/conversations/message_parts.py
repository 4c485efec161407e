"""Rows that belong to one message."""

from decimal import Decimal

from sqlalchemy import Index, Numeric, String, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import CreatedAt, CreatedExactlyAt, LongText, Model, String255, UuidKey, UuidText


class MessageFeedback(Model):
    """A rating of a message."""

    __tablename__ = "message_feedbacks"
    __table_args__ = (
        Index("message_feedback_app_idx", "app_id"),
        Index("message_feedback_conversation_idx", "conversation_id", "from_source", "rating"),
        Index("message_feedback_message_idx", "message_id", "from_source"),
    )

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    conversation_id: Mapped[UuidText]
    message_id: Mapped[UuidText]
    rating: Mapped[String255]
    content: Mapped[LongText | None]
    from_source: Mapped[String255]
    from_end_user_id: Mapped[UuidText | None]
    from_account_id: Mapped[UuidText | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]


class MessageChain(Model):
    """A chain of calls that answered a message."""

    __tablename__ = "message_chains"
    __table_args__ = (Index("message_chain_message_id_idx", "message_id"),)

    id: Mapped[UuidKey]
    message_id: Mapped[UuidText]
    type: Mapped[String255]
    input: Mapped[LongText | None]
    output: Mapped[LongText | None]
    created_at: Mapped[CreatedExactlyAt]


class MessageAgentThought(Model):
    """A step of an agent that answered a message."""

    __tablename__ = "message_agent_thoughts"
    __table_args__ = (
        Index("message_agent_thought_message_chain_id_idx", "message_chain_id"),
        Index("message_agent_thought_message_id_idx", "message_id"),
    )

    id: Mapped[UuidKey]
    message_id: Mapped[UuidText]
    message_chain_id: Mapped[UuidText | None]
    position: Mapped[int]
    thought: Mapped[LongText | None]
    tool: Mapped[LongText | None]
    tool_input: Mapped[LongText | None]
    observation: Mapped[LongText | None]
    tool_process_data: Mapped[LongText | None]
    message: Mapped[LongText | None]
    message_token: Mapped[int | None]
    message_unit_price: Mapped[Decimal | None] = mapped_column(Numeric)
    answer: Mapped[LongText | None]
    answer_token: Mapped[int | None]
    answer_unit_price: Mapped[Decimal | None] = mapped_column(Numeric)
    tokens: Mapped[int | None]
    total_price: Mapped[Decimal | None] = mapped_column(Numeric)
    currency: Mapped[str | None] = mapped_column(String)
    latency: Mapped[float | None]
    created_by_role: Mapped[str] = mapped_column(String)
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedExactlyAt]
    message_price_unit: Mapped[Decimal] = mapped_column(Numeric(10, 7), server_default=text("0.001"))
    answer_price_unit: Mapped[Decimal] = mapped_column(Numeric(10, 7), server_default=text("0.001"))
    message_files: Mapped[LongText | None]
    tool_labels_str: Mapped[LongText] = mapped_column(server_default=text("'{}'"))
    tool_meta_str: Mapped[LongText] = mapped_column(server_default=text("'{}'"))


class MessageFile(Model):
    """A file of a message."""

    __tablename__ = "message_files"
    __table_args__ = (
        Index("message_file_created_by_idx", "created_by"),
        Index("message_file_message_idx", "message_id"),
    )

    id: Mapped[UuidKey]
    message_id: Mapped[UuidText]
    type: Mapped[String255]
    transfer_method: Mapped[String255]
    url: Mapped[LongText | None]
    upload_file_id: Mapped[UuidText | None]
    """A row of upload_files, for a file that was uploaded."""
    created_by_role: Mapped[String255]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    belongs_to: Mapped[String255 | None]


class SavedMessage(Model):
    """A user has saved a message."""

    __tablename__ = "saved_messages"
    __table_args__ = (Index("saved_message_message_idx", "app_id", "message_id", "created_by_role", "created_by"),)

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    message_id: Mapped[UuidText]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    created_by_role: Mapped[String255] = mapped_column(server_default=text("'end_user'"))


class DatasetRetrieverResource(Model):
    """A segment that a message was answered from."""

    __tablename__ = "dataset_retriever_resources"
    __table_args__ = (Index("dataset_retriever_resource_message_id_idx", "message_id"),)

    id: Mapped[UuidKey]
    message_id: Mapped[UuidText]
    position: Mapped[int]
    dataset_id: Mapped[UuidText]
    dataset_name: Mapped[LongText]
    document_id: Mapped[UuidText | None]
    document_name: Mapped[LongText]
    data_source_type: Mapped[LongText | None]
    segment_id: Mapped[UuidText | None]
    score: Mapped[float | None]
    content: Mapped[LongText]
    hit_count: Mapped[int | None]
    word_count: Mapped[int | None]
    segment_position: Mapped[int | None]
    index_node_hash: Mapped[LongText | None]
    retriever_from: Mapped[LongText]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedExactlyAt]
