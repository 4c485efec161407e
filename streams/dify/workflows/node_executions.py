"""States of the executions of nodes, as rows of workflow_node_executions."""

from dataclasses import dataclass
from datetime import datetime

from streams.dify.workflows.upsert import Table


@dataclass(frozen=True, slots=True)
class NodeExecutionRow:
    """The state of a node's execution. Texts are storable, times are UTC without a time zone."""

    id: str
    tenant_id: str
    app_id: str
    workflow_id: str
    triggered_from: str
    workflow_run_id: str | None
    """None: the node ran alone."""
    index: int
    predecessor_node_id: str | None
    node_execution_id: str | None
    node_id: str
    node_type: str
    title: str
    inputs: str
    process_data: str
    outputs: str
    status: str
    error: str | None
    elapsed_time: float
    """Seconds."""
    execution_metadata: str | None
    created_by_role: str
    created_by: str
    created_at: datetime
    """When the execution started."""
    finished_at: datetime | None

    @property
    def size(self) -> int:
        """The characters of its large texts."""
        texts = (self.inputs, self.process_data, self.outputs, self.error, self.execution_metadata)
        return sum(len(each or "") for each in texts)


NODE_EXECUTIONS = Table(
    "workflow_node_executions",
    "node execution",
    types={
        "id": "uuid",
        "tenant_id": "uuid",
        "app_id": "uuid",
        "workflow_id": "uuid",
        "triggered_from": "text",
        "workflow_run_id": "uuid",
        "index": "int",
        "predecessor_node_id": "text",
        "node_execution_id": "text",
        "node_id": "text",
        "node_type": "text",
        "title": "text",
        "inputs": "text",
        "process_data": "text",
        "outputs": "text",
        "status": "text",
        "error": "text",
        "elapsed_time": "float8",
        "execution_metadata": "text",
        "created_by_role": "text",
        "created_by": "uuid",
        "created_at": "timestamp",
        "finished_at": "timestamp",
    },
    updated=(
        "inputs",
        "process_data",
        "outputs",
        "status",
        "error",
        "elapsed_time",
        "execution_metadata",
        "finished_at",
    ),
)
