"""Annotations: answers that a person wrote for a question."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import ZERO, CreatedAt, LongText, Model, UuidKey, UuidText


class AppAnnotationSetting(Model):
    """An app answers from its annotations. The app is not unique."""

    __tablename__ = "app_annotation_settings"
    __table_args__ = (Index("app_annotation_settings_app_idx", "app_id"),)

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    score_threshold: Mapped[float] = mapped_column(server_default=ZERO)
    collection_binding_id: Mapped[UuidText]
    """The binding of the embedding model that the index was made with."""
    created_user_id: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    updated_user_id: Mapped[UuidText]
    updated_at: Mapped[CreatedAt]


class MessageAnnotation(Model):
    """A question and the answer that a person wrote for it."""

    __tablename__ = "message_annotations"
    __table_args__ = (
        Index("message_annotation_app_idx", "app_id"),
        Index("message_annotation_conversation_idx", "conversation_id"),
        Index("message_annotation_message_idx", "message_id"),
    )

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    conversation_id: Mapped[UuidText | None]
    message_id: Mapped[UuidText | None]
    """NULL for an annotation that was added by hand or imported."""
    content: Mapped[LongText]
    account_id: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    question: Mapped[LongText | None]
    hit_count: Mapped[int] = mapped_column(server_default=ZERO)


class AppAnnotationHitHistory(Model):
    """An annotation answered a message."""

    __tablename__ = "app_annotation_hit_histories"
    __table_args__ = (
        Index("app_annotation_hit_histories_account_idx", "account_id"),
        Index("app_annotation_hit_histories_annotation_idx", "annotation_id"),
        Index("app_annotation_hit_histories_app_idx", "app_id"),
        Index("app_annotation_hit_histories_message_idx", "message_id"),
    )

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    annotation_id: Mapped[UuidText]
    source: Mapped[LongText]
    question: Mapped[LongText]
    account_id: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    score: Mapped[float] = mapped_column(server_default=ZERO)
    message_id: Mapped[UuidText]
    annotation_question: Mapped[LongText]
    annotation_content: Mapped[LongText]
