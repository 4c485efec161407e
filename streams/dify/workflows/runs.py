"""States of workflow runs, as rows of workflow_runs."""

from dataclasses import dataclass
from datetime import datetime

from streams.dify.workflows.upsert import Table


@dataclass(frozen=True, slots=True)
class RunRow:
    """The state of a run. Texts are storable, times are UTC without a time zone."""

    id: str
    tenant_id: str
    app_id: str
    workflow_id: str
    type: str
    triggered_from: str
    version: str
    graph: str | None
    inputs: str | None
    status: str
    outputs: str
    error: str | None
    elapsed_time: float
    """Seconds."""
    total_tokens: int
    total_steps: int
    exceptions_count: int
    created_by_role: str
    created_by: str
    created_at: datetime
    """When the run started."""
    finished_at: datetime | None

    @property
    def size(self) -> int:
        """The characters of its large texts."""
        return sum(len(each or "") for each in (self.graph, self.inputs, self.outputs, self.error))


RUNS = Table(
    "workflow_runs",
    "workflow run",
    types={
        "id": "uuid",
        "tenant_id": "uuid",
        "app_id": "uuid",
        "workflow_id": "uuid",
        "type": "text",
        "triggered_from": "text",
        "version": "text",
        "graph": "text",
        "inputs": "text",
        "status": "text",
        "outputs": "text",
        "error": "text",
        "elapsed_time": "float8",
        "total_tokens": "bigint",
        "total_steps": "int",
        "exceptions_count": "int",
        "created_by_role": "text",
        "created_by": "uuid",
        "created_at": "timestamp",
        "finished_at": "timestamp",
    },
    updated=(
        "status",
        "outputs",
        "error",
        "elapsed_time",
        "total_tokens",
        "total_steps",
        "exceptions_count",
        "finished_at",
    ),
)
