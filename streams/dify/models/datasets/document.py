"""Documents and the pieces that they are split into."""

from sqlalchemy import JSON, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import FALSE, TRUE, CreatedAt, LongText, Model, String255, UtcTime, UuidKey, UuidText


class Document(Model):
    """A document; indexing_status goes waiting → parsing → splitting → indexing → completed | error."""

    __tablename__ = "documents"
    __table_args__ = (
        Index("document_dataset_id_idx", "dataset_id"),
        Index("document_is_paused_idx", "is_paused"),
        Index("document_tenant_idx", "tenant_id"),
        Index("document_metadata_idx", "doc_metadata", postgresql_using="gin"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    dataset_id: Mapped[UuidText]
    position: Mapped[int]
    data_source_type: Mapped[String255]
    data_source_info: Mapped[LongText | None]
    dataset_process_rule_id: Mapped[UuidText | None]
    batch: Mapped[String255]
    name: Mapped[String255]
    created_from: Mapped[String255]
    created_by: Mapped[UuidText]
    created_api_request_id: Mapped[UuidText | None]
    created_at: Mapped[CreatedAt]
    processing_started_at: Mapped[UtcTime | None]
    file_id: Mapped[LongText | None]
    word_count: Mapped[int | None]
    parsing_completed_at: Mapped[UtcTime | None]
    cleaning_completed_at: Mapped[UtcTime | None]
    splitting_completed_at: Mapped[UtcTime | None]
    tokens: Mapped[int | None]
    indexing_latency: Mapped[float | None]
    """Seconds from the end of splitting to completion."""
    completed_at: Mapped[UtcTime | None]
    is_paused: Mapped[bool | None] = mapped_column(server_default=FALSE)
    paused_by: Mapped[UuidText | None]
    paused_at: Mapped[UtcTime | None]
    error: Mapped[LongText | None]
    stopped_at: Mapped[UtcTime | None]
    indexing_status: Mapped[String255] = mapped_column(server_default=text("'waiting'"))
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    disabled_at: Mapped[UtcTime | None]
    disabled_by: Mapped[UuidText | None]
    archived: Mapped[bool] = mapped_column(server_default=FALSE)
    archived_reason: Mapped[String255 | None]
    archived_by: Mapped[UuidText | None]
    archived_at: Mapped[UtcTime | None]
    updated_at: Mapped[CreatedAt]
    doc_type: Mapped[str | None] = mapped_column(String(40))
    doc_metadata: Mapped[dict[str, object] | None] = mapped_column(JSONB(none_as_null=True))
    doc_form: Mapped[String255] = mapped_column(server_default=text("'text_model'"))
    doc_language: Mapped[String255 | None]


class DocumentSegment(Model):
    """A piece of a document; status goes waiting → indexing → completed | error."""

    __tablename__ = "document_segments"
    __table_args__ = (
        Index("document_segment_dataset_id_idx", "dataset_id"),
        Index("document_segment_document_id_idx", "document_id"),
        Index("document_segment_tenant_dataset_idx", "dataset_id", "tenant_id"),
        Index("document_segment_tenant_document_idx", "document_id", "tenant_id"),
        Index("document_segment_node_dataset_idx", "index_node_id", "dataset_id"),
        Index("document_segment_tenant_idx", "tenant_id"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    dataset_id: Mapped[UuidText]
    document_id: Mapped[UuidText]
    position: Mapped[int]
    content: Mapped[LongText]
    answer: Mapped[LongText | None]
    word_count: Mapped[int]
    """Characters, as everywhere on the platform."""
    tokens: Mapped[int]
    keywords: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    index_node_id: Mapped[String255 | None]
    index_node_hash: Mapped[String255 | None]
    hit_count: Mapped[int] = mapped_column(default=0)
    """The database has no default for it: an INSERT has to give it."""
    enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    disabled_at: Mapped[UtcTime | None]
    disabled_by: Mapped[UuidText | None]
    status: Mapped[String255] = mapped_column(server_default=text("'waiting'"))
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    updated_by: Mapped[UuidText | None]
    updated_at: Mapped[CreatedAt]
    indexing_at: Mapped[UtcTime | None]
    completed_at: Mapped[UtcTime | None]
    error: Mapped[LongText | None]
    stopped_at: Mapped[UtcTime | None]


class ChildChunk(Model):
    """A part of a segment that has its own vector (hierarchical documents)."""

    __tablename__ = "child_chunks"
    __table_args__ = (
        Index("child_chunk_dataset_id_idx", "tenant_id", "dataset_id", "document_id", "segment_id", "index_node_id"),
        Index("child_chunks_node_idx", "index_node_id", "dataset_id"),
        Index("child_chunks_segment_idx", "segment_id"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    dataset_id: Mapped[UuidText]
    document_id: Mapped[UuidText]
    segment_id: Mapped[UuidText]
    position: Mapped[int]
    content: Mapped[LongText]
    word_count: Mapped[int]
    index_node_id: Mapped[String255 | None]
    index_node_hash: Mapped[String255 | None]
    type: Mapped[String255] = mapped_column(server_default=text("'automatic'"))
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    updated_by: Mapped[UuidText | None]
    updated_at: Mapped[CreatedAt]
    indexing_at: Mapped[UtcTime | None]
    completed_at: Mapped[UtcTime | None]
    error: Mapped[LongText | None]
