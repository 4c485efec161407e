"""Workflows, and the tools that are made of them."""

from sqlalchemy import Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import EMPTY, CreatedAt, LongText, Model, String255, UtcTime, UuidKey, UuidText


class Workflow(Model):
    """A version of the graph of an app or a pipeline."""

    __tablename__ = "workflows"
    __table_args__ = (Index("workflow_version_idx", "tenant_id", "app_id", "version"),)

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    app_id: Mapped[UuidText]
    """The app, or the pipeline."""
    type: Mapped[String255]
    version: Mapped[String255]
    """`draft`, or the time of its publication as text."""
    graph: Mapped[LongText]
    """JSON text: {"nodes": [...], "edges": [...]}"""
    features: Mapped[LongText]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    updated_by: Mapped[UuidText | None]
    updated_at: Mapped[UtcTime]
    environment_variables: Mapped[LongText] = mapped_column(server_default=text("'{}'"))
    conversation_variables: Mapped[LongText] = mapped_column(server_default=text("'{}'"))
    marked_name: Mapped[str] = mapped_column(String, server_default=EMPTY)
    marked_comment: Mapped[str] = mapped_column(String, server_default=EMPTY)
    rag_pipeline_variables: Mapped[LongText] = mapped_column(server_default=text("'{}'"))


class ToolWorkflowProvider(Model):
    """An app that is offered to other apps as a tool."""

    __tablename__ = "tool_workflow_providers"
    __table_args__ = (
        UniqueConstraint("name", "tenant_id", name="unique_workflow_tool_provider"),
        UniqueConstraint("tenant_id", "app_id", name="unique_workflow_tool_provider_app_id"),
    )

    id: Mapped[UuidKey]
    name: Mapped[String255]
    icon: Mapped[String255]
    app_id: Mapped[UuidText]
    user_id: Mapped[UuidText]
    tenant_id: Mapped[UuidText]
    description: Mapped[LongText]
    parameter_configuration: Mapped[LongText] = mapped_column(server_default=text("'[]'"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    privacy_policy: Mapped[String255 | None] = mapped_column(server_default=EMPTY)
    version: Mapped[String255] = mapped_column(server_default=EMPTY)
    label: Mapped[String255] = mapped_column(server_default=EMPTY)
