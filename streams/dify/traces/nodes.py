"""The nodes of a workflow run as spans of its trace. The payload does not have them."""

from datetime import UTC, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.http import JSONObject, as_object
from streams.dify.models import WorkflowNodeExecution
from streams.dify.models.json_text import read_object
from streams.dify.traces.payload import read_count
from streams.dify.traces.trace import ModelUse, Span

MAX_NODES = 1000
"""The number of nodes of a run that its trace has at most."""


async def load_nodes(session: AsyncSession, tenant_id: str, app_id: str, workflow_run_id: str) -> list[Span]:
    """Return the nodes of a run of this app in the order of their execution."""
    node = WorkflowNodeExecution
    query = select(node).where(
        node.tenant_id == tenant_id, node.app_id == app_id, node.workflow_run_id == workflow_run_id
    )
    found = await session.scalars(query.order_by(node.index, node.id).limit(MAX_NODES))
    return [_span(one) for one in found]


def _span(node: WorkflowNodeExecution) -> Span:
    start = node.created_at.replace(tzinfo=UTC)
    details = read_object(node.process_data) or {}
    outputs = read_object(node.outputs) or {}
    inputs = details.get("prompts", {}) if node.node_type == "llm" else read_object(node.inputs) or {}
    metadata = {
        **(read_object(node.execution_metadata) or {}),
        "workflow_run_id": node.workflow_run_id,
        "node_execution_id": node.id,
        "node_name": node.title,
        "node_type": node.node_type,
        "status": node.status,
        "model_provider": details.get("model_provider"),
    }
    return Span(
        id=node.id,
        name=node.title,
        start=start,
        end=start + timedelta(seconds=node.elapsed_time or 0.0),
        input=inputs,
        output=outputs,
        metadata={name: value for name, value in metadata.items() if value is not None},
        error=(node.error or node.status) if node.status in {"failed", "exception"} else None,
        use=_use(details, outputs) if details.get("model_mode") == "chat" else None,
    )


def _use(details: JSONObject, outputs: JSONObject) -> ModelUse:
    usage = as_object(details.get("usage")) or as_object(outputs.get("usage"))
    name = details.get("model_name")
    asked, answered, total = (read_count(usage.get(f"{kind}_tokens")) for kind in ("prompt", "completion", "total"))
    return ModelUse(name if isinstance(name, str) else None, asked, answered, total)
