"""Executions of the nodes of a workflow."""

from sqlalchemy import Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import (
    ZERO,
    CreatedAt,
    CreatedExactlyAt,
    LongText,
    Model,
    OrderedUuidKey,
    String255,
    UtcTime,
    UuidKey,
    UuidText,
)


class WorkflowNodeExecution(Model):
    """One execution of one node; inputs, process_data, outputs and execution_metadata are JSON text."""

    __tablename__ = "workflow_node_executions"
    __table_args__ = (
        Index(
            "workflow_node_execution_id_idx",
            "tenant_id",
            "app_id",
            "workflow_id",
            "triggered_from",
            "node_execution_id",
        ),
        Index(
            "workflow_node_execution_node_run_idx", "tenant_id", "app_id", "workflow_id", "triggered_from", "node_id"
        ),
        Index(
            "workflow_node_execution_workflow_run_idx",
            "tenant_id",
            "app_id",
            "workflow_id",
            "triggered_from",
            "workflow_run_id",
        ),
        Index("workflow_node_executions_tenant_id_idx", "tenant_id", "workflow_id", "node_id", text("created_at desc")),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    app_id: Mapped[UuidText]
    workflow_id: Mapped[UuidText]
    triggered_from: Mapped[String255]
    workflow_run_id: Mapped[UuidText | None]
    index: Mapped[int]
    predecessor_node_id: Mapped[String255 | None]
    node_id: Mapped[String255]
    node_type: Mapped[String255]
    title: Mapped[String255]
    inputs: Mapped[LongText | None]
    process_data: Mapped[LongText | None]
    outputs: Mapped[LongText | None]
    """JSON text. A large value is in the storage: see workflow_node_execution_offload."""
    status: Mapped[String255]
    error: Mapped[LongText | None]
    elapsed_time: Mapped[float] = mapped_column(server_default=ZERO)
    """Seconds."""
    execution_metadata: Mapped[LongText | None]
    created_at: Mapped[CreatedAt]
    created_by_role: Mapped[String255]
    created_by: Mapped[UuidText]
    finished_at: Mapped[UtcTime | None]
    node_execution_id: Mapped[String255 | None]


class WorkflowNodeExecutionOffload(Model):
    """A large value of an execution that is in the storage."""

    __tablename__ = "workflow_node_execution_offload"
    __table_args__ = (
        UniqueConstraint("node_execution_id", "type", name="workflow_node_execution_offload_node_execution_id_key"),
    )

    id: Mapped[OrderedUuidKey]
    created_at: Mapped[CreatedExactlyAt]
    tenant_id: Mapped[UuidText]
    app_id: Mapped[UuidText]
    node_execution_id: Mapped[UuidText | None]
    type: Mapped[str] = mapped_column(String(20))
    """inputs, process_data or outputs."""
    file_id: Mapped[UuidText]
    """A row of upload_files."""
