"""Datasets, and the rows that belong to a dataset as a whole."""

from sqlalchemy import Index, String, null, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import (
    FALSE,
    TRUE,
    CreatedAt,
    CreatedExactlyAt,
    LongText,
    Model,
    String255,
    UuidKey,
    UuidText,
)


class Dataset(Model):
    """A knowledge base."""

    __tablename__ = "datasets"
    __table_args__ = (
        Index("dataset_tenant_idx", "tenant_id"),
        Index("retrieval_model_idx", "retrieval_model", postgresql_using="gin"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    name: Mapped[String255]
    description: Mapped[LongText | None]
    provider: Mapped[String255] = mapped_column(server_default=text("'vendor'"))
    permission: Mapped[String255] = mapped_column(server_default=text("'only_me'"))
    data_source_type: Mapped[String255 | None]
    indexing_technique: Mapped[String255 | None]
    index_struct: Mapped[LongText | None]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    updated_by: Mapped[UuidText | None]
    updated_at: Mapped[CreatedAt]
    # The database's default is a model of long ago. The platform's code writes NULL where it names none.
    embedding_model: Mapped[str | None] = mapped_column(
        String(255), default=null(), server_default=text("'text-embedding-ada-002'")
    )
    embedding_model_provider: Mapped[str | None] = mapped_column(
        String(255), default=null(), server_default=text("'openai'")
    )
    keyword_number: Mapped[int | None] = mapped_column(server_default=text("10"))
    collection_binding_id: Mapped[UuidText | None]
    retrieval_model: Mapped[dict[str, object] | None] = mapped_column(JSONB(none_as_null=True))
    built_in_field_enabled: Mapped[bool] = mapped_column(server_default=FALSE)
    icon_info: Mapped[dict[str, object] | None] = mapped_column(JSONB(none_as_null=True))
    runtime_mode: Mapped[String255 | None] = mapped_column(server_default=text("'general'"))
    pipeline_id: Mapped[UuidText | None]
    chunk_structure: Mapped[String255 | None]
    enable_api: Mapped[bool] = mapped_column(server_default=TRUE)


class DatasetProcessRule(Model):
    """The rules for splitting documents: mode automatic, custom or hierarchical; `rules` is JSON text."""

    __tablename__ = "dataset_process_rules"
    __table_args__ = (Index("dataset_process_rule_dataset_id_idx", "dataset_id"),)

    id: Mapped[UuidKey]
    dataset_id: Mapped[UuidText]
    mode: Mapped[String255] = mapped_column(server_default=text("'automatic'"))
    rules: Mapped[LongText | None]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]


class DatasetQuery(Model):
    """A question that was sent to a dataset."""

    __tablename__ = "dataset_queries"
    __table_args__ = (Index("dataset_query_dataset_id_idx", "dataset_id"),)

    id: Mapped[UuidKey]
    dataset_id: Mapped[UuidText]
    content: Mapped[LongText]
    source: Mapped[String255]
    source_app_id: Mapped[UuidText | None]
    created_by_role: Mapped[str] = mapped_column(String)
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedExactlyAt]


class DatasetKeywordTable(Model):
    """The keyword index of an economy dataset: JSON text here, or a file, as data_source_type says."""

    __tablename__ = "dataset_keyword_tables"
    __table_args__ = (Index("dataset_keyword_table_dataset_id_idx", "dataset_id"),)

    id: Mapped[UuidKey]
    dataset_id: Mapped[UuidText] = mapped_column(unique=True)
    keyword_table: Mapped[LongText]
    data_source_type: Mapped[String255] = mapped_column(server_default=text("'database'"))


class DatasetCollectionBinding(Model):
    """A vector collection that datasets of one embedding model share."""

    __tablename__ = "dataset_collection_bindings"
    __table_args__ = (Index("provider_model_name_idx", "provider_name", "model_name"),)

    id: Mapped[UuidKey]
    provider_name: Mapped[String255]
    model_name: Mapped[String255]
    type: Mapped[str] = mapped_column(String(40), server_default=text("'dataset'"))
    collection_name: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]


class DatasetMetadata(Model):
    """A metadata field that a dataset defines."""

    __tablename__ = "dataset_metadatas"
    __table_args__ = (
        Index("dataset_metadata_tenant_idx", "tenant_id"),
        Index("dataset_metadata_dataset_idx", "dataset_id"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    dataset_id: Mapped[UuidText]
    type: Mapped[String255]
    name: Mapped[String255]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    created_by: Mapped[UuidText]
    updated_by: Mapped[UuidText | None]


class DatasetMetadataBinding(Model):
    """A document has a value for a metadata field."""

    __tablename__ = "dataset_metadata_bindings"
    __table_args__ = (
        Index("dataset_metadata_binding_tenant_idx", "tenant_id"),
        Index("dataset_metadata_binding_dataset_idx", "dataset_id"),
        Index("dataset_metadata_binding_metadata_idx", "metadata_id"),
        Index("dataset_metadata_binding_document_idx", "document_id"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    dataset_id: Mapped[UuidText]
    metadata_id: Mapped[UuidText]
    document_id: Mapped[UuidText]
    created_at: Mapped[CreatedExactlyAt]
    created_by: Mapped[UuidText]


class DatasetAutoDisableLog(Model):
    """A document was disabled because nobody used its dataset."""

    __tablename__ = "dataset_auto_disable_logs"
    __table_args__ = (
        Index("dataset_auto_disable_log_tenant_idx", "tenant_id"),
        Index("dataset_auto_disable_log_dataset_idx", "dataset_id"),
        Index("dataset_auto_disable_log_created_atx", "created_at"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    dataset_id: Mapped[UuidText]
    document_id: Mapped[UuidText]
    notified: Mapped[bool] = mapped_column(server_default=FALSE)
    created_at: Mapped[CreatedAt]
