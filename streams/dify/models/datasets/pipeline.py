"""Pipelines: workflows that index the documents of a dataset."""

from sqlalchemy import JSON, Index
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import (
    EMPTY,
    FALSE,
    CreatedExactlyAt,
    LongText,
    Model,
    OrderedUuidKey,
    String255,
    UuidText,
)


class Pipeline(Model):
    """The pipeline of a dataset."""

    __tablename__ = "pipelines"

    id: Mapped[OrderedUuidKey]
    tenant_id: Mapped[UuidText]
    name: Mapped[String255]
    description: Mapped[LongText] = mapped_column(server_default=EMPTY)
    workflow_id: Mapped[UuidText | None]
    is_public: Mapped[bool] = mapped_column(server_default=FALSE)
    is_published: Mapped[bool] = mapped_column(server_default=FALSE)
    created_by: Mapped[UuidText | None]
    created_at: Mapped[CreatedExactlyAt]
    updated_by: Mapped[UuidText | None]
    updated_at: Mapped[CreatedExactlyAt]


class DocumentPipelineExecutionLog(Model):
    """A document was given to a pipeline, with these inputs."""

    __tablename__ = "document_pipeline_execution_logs"
    __table_args__ = (Index("document_pipeline_execution_logs_document_id_idx", "document_id"),)

    id: Mapped[OrderedUuidKey]
    pipeline_id: Mapped[UuidText]
    document_id: Mapped[UuidText]
    datasource_type: Mapped[String255]
    datasource_info: Mapped[LongText]
    """JSON text."""
    datasource_node_id: Mapped[String255]
    input_data: Mapped[dict[str, object]] = mapped_column(JSON)
    created_by: Mapped[UuidText | None]
    created_at: Mapped[CreatedExactlyAt]


class PipelineBuiltInTemplate(Model):
    """A template that the platform offers."""

    __tablename__ = "pipeline_built_in_templates"

    id: Mapped[OrderedUuidKey]
    name: Mapped[String255]
    description: Mapped[LongText]
    chunk_structure: Mapped[String255]
    icon: Mapped[dict[str, object]] = mapped_column(JSON)
    yaml_content: Mapped[LongText]
    copyright: Mapped[String255]
    privacy_policy: Mapped[String255]
    position: Mapped[int]
    install_count: Mapped[int]
    language: Mapped[String255]
    created_at: Mapped[CreatedExactlyAt]
    updated_at: Mapped[CreatedExactlyAt]


class PipelineCustomizedTemplate(Model):
    """A template of a tenant."""

    __tablename__ = "pipeline_customized_templates"
    __table_args__ = (Index("pipeline_customized_template_tenant_idx", "tenant_id"),)

    id: Mapped[OrderedUuidKey]
    tenant_id: Mapped[UuidText]
    name: Mapped[String255]
    description: Mapped[LongText]
    chunk_structure: Mapped[String255]
    icon: Mapped[dict[str, object]] = mapped_column(JSON)
    position: Mapped[int]
    yaml_content: Mapped[LongText]
    install_count: Mapped[int]
    language: Mapped[String255]
    created_by: Mapped[UuidText]
    updated_by: Mapped[UuidText | None]
    created_at: Mapped[CreatedExactlyAt]
    updated_at: Mapped[CreatedExactlyAt]


class PipelineRecommendedPlugin(Model):
    """A plugin that the platform recommends for pipelines."""

    __tablename__ = "pipeline_recommended_plugins"

    id: Mapped[OrderedUuidKey]
    plugin_id: Mapped[LongText]
    provider_name: Mapped[LongText]
    position: Mapped[int]
    active: Mapped[bool]
    created_at: Mapped[CreatedExactlyAt]
    updated_at: Mapped[CreatedExactlyAt]
