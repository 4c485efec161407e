"""Events of workflow runs. JSON columns travel as JSON text, as the platform's tables have them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict

from schemas.event import Event
from schemas.sensitivity import Personal


class WorkflowRunSaved(Event):
    """A workflow run has this state now. The sender publishes one event per change of state."""

    run_id: str
    app_id: str
    workflow_id: str
    workflow_type: str
    """workflow, chat or rag-pipeline."""
    workflow_version: str
    triggered_from: str
    """debugging, app-run, rag-pipeline-run or rag-pipeline-debugging."""
    status: str
    """running, succeeded, failed, stopped or partial-succeeded."""
    graph: str | None = None
    inputs: Annotated[str | None, Personal] = None
    outputs: Annotated[str | None, Personal] = None
    error: Annotated[str | None, Personal] = None
    total_tokens: int = 0
    total_steps: int = 0
    exceptions_count: int = 0
    created_by_role: str
    """account or end_user."""
    created_by: str
    started_at: datetime
    finished_at: datetime | None = None


class WorkflowNodeExecutionSaved(Event):
    """The execution of a workflow's node has this state now."""

    run_id: str
    """The workflow run. If the node ran alone, the id of its execution."""
    ran_alone: bool = False
    """True: a person ran this node alone, without a workflow run."""
    execution_id: str
    """The row's id."""
    node_execution_id: str | None = None
    app_id: str
    workflow_id: str
    triggered_from: str
    """single-step, workflow-run or rag-pipeline-run."""
    index: int
    predecessor_node_id: str | None = None
    node_id: str
    node_type: str
    title: str
    status: str
    """running, succeeded, failed, exception, retry or paused."""
    inputs: Annotated[str | None, Personal] = None
    process_data: Annotated[str | None, Personal] = None
    outputs: Annotated[str | None, Personal] = None
    metadata: str | None = None
    error: Annotated[str | None, Personal] = None
    elapsed_time: float = 0.0
    """Seconds."""
    created_by_role: str
    created_by: str
    started_at: datetime
    finished_at: datetime | None = None


class DraftVariableFile(BaseModel):
    """A file with the value of a draft variable that was too large for its row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    draft_variable_id: str
    draft_variable_file_id: str


class WorkflowDraftVariablesDeleted(Event):
    """Draft variables were deleted. The files with their values must be deleted."""

    files: list[DraftVariableFile]
