"""Runs of workflows."""

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import ZERO, CreatedAt, LongText, Model, String255, UtcTime, UuidKey, UuidText


class WorkflowRun(Model):
    """A run of a workflow; graph, inputs and outputs are JSON text."""

    __tablename__ = "workflow_runs"
    __table_args__ = (Index("workflow_run_triggerd_from_idx", "tenant_id", "app_id", "triggered_from"),)

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    app_id: Mapped[UuidText]
    workflow_id: Mapped[UuidText]
    type: Mapped[String255]
    triggered_from: Mapped[String255]
    version: Mapped[String255]
    graph: Mapped[LongText | None]
    inputs: Mapped[LongText | None]
    status: Mapped[String255]
    """running, then succeeded, failed, stopped or partial-succeeded."""
    outputs: Mapped[LongText | None]
    error: Mapped[LongText | None]
    elapsed_time: Mapped[float] = mapped_column(server_default=ZERO)
    """Seconds."""
    total_tokens: Mapped[int] = mapped_column(BigInteger, server_default=ZERO)
    total_steps: Mapped[int | None] = mapped_column(server_default=ZERO)
    created_by_role: Mapped[String255]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[UtcTime | None]
    exceptions_count: Mapped[int | None] = mapped_column(server_default=ZERO)


class WorkflowAppLog(Model):
    """A run that is shown in the logs of its app."""

    __tablename__ = "workflow_app_logs"
    __table_args__ = (
        Index("workflow_app_log_app_idx", "tenant_id", "app_id"),
        Index("workflow_app_log_workflow_run_id_idx", "workflow_run_id"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    app_id: Mapped[UuidText]
    workflow_id: Mapped[UuidText]
    workflow_run_id: Mapped[UuidText]
    created_from: Mapped[String255]
    created_by_role: Mapped[String255]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
