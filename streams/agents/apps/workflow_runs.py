"""Handlers for workflow runs and the executions of their nodes: each state becomes or changes one row."""

from collections.abc import Sequence
from datetime import datetime

from schemas import WorkflowNodeExecutionSaved, WorkflowRunSaved
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Permanent, Work, handles
from streams.dify.ids import checked_id, checked_text, storable
from streams.dify.workflows.node_executions import NODE_EXECUTIONS, NodeExecutionRow
from streams.dify.workflows.owners import Owned, check_owned
from streams.dify.workflows.precedence import NODE_STATES, RUN_STATES
from streams.dify.workflows.runs import RUNS, RunRow
from streams.dify.workflows.upsert import save, utc_time

EMPTY = "{}"
"""What the platform stores for missing inputs and outputs."""
MAX_TITLE = 255
MAX_INTEGER = 2**31 - 1
MAX_BIGINT = 2**63 - 1


@handles(WorkflowRunSaved, kind="batch")
async def save_workflow_run(events: Sequence[WorkflowRunSaved], work: Work) -> None:
    """Save the states of runs. A final state is never overwritten by a late `running`."""
    with mapped_errors():
        rows = [run_row(event) for event in events]
        named = [Owned("app", row.app_id, row.tenant_id) for row in rows]
        named += [Owned("workflow", row.workflow_id, row.tenant_id) for row in rows]
        await check_owned(work.session, named)
        await save(work.session, RUNS, rows)


@handles(WorkflowNodeExecutionSaved, kind="batch")
async def save_node_execution(events: Sequence[WorkflowNodeExecutionSaved], work: Work) -> None:
    """Save the states of node executions. A final state is never overwritten by a late `running`."""
    with mapped_errors():
        rows = [node_execution_row(event) for event in events]
        named = [Owned("app", row.app_id, row.tenant_id) for row in rows]
        named += [Owned("workflow", row.workflow_id, row.tenant_id) for row in rows]
        named += [Owned("run", row.workflow_run_id, row.tenant_id) for row in rows if row.workflow_run_id is not None]
        await check_owned(work.session, named)
        await save(work.session, NODE_EXECUTIONS, rows)


def run_row(event: WorkflowRunSaved) -> RunRow:
    """Return the row of a run's state. Raises RefusedError or Permanent if the event cannot be right."""
    run_id = checked_id("run_id", event.run_id)
    finished_at = _optional_time(event.finished_at)
    # The platform counts a run that is not finished up to now. The event's time gives the same after a replay.
    ended = finished_at or utc_time(event.occurred_at)
    started_at = utc_time(event.started_at)
    return RunRow(
        id=run_id,
        tenant_id=_tenant(f"workflow run {run_id}", event.tenant_id),
        app_id=checked_id("app_id", event.app_id),
        workflow_id=checked_id("workflow_id", event.workflow_id),
        type=checked_text("workflow_type", event.workflow_type),
        triggered_from=checked_text("triggered_from", event.triggered_from),
        version=checked_text("workflow_version", event.workflow_version),
        graph=_optional_text(event.graph),
        inputs=_optional_text(event.inputs),
        status=_status(event.status, RUN_STATES),
        outputs=storable(event.outputs or EMPTY),
        error=_optional_text(event.error),
        elapsed_time=(ended - started_at).total_seconds(),
        total_tokens=_number("total_tokens", event.total_tokens, MAX_BIGINT),
        total_steps=_number("total_steps", event.total_steps, MAX_INTEGER),
        exceptions_count=_number("exceptions_count", event.exceptions_count, MAX_INTEGER),
        created_by_role=checked_text("created_by_role", event.created_by_role),
        created_by=checked_id("created_by", event.created_by),
        created_at=started_at,
        finished_at=finished_at,
    )


def node_execution_row(event: WorkflowNodeExecutionSaved) -> NodeExecutionRow:
    """Return the row of an execution's state. Raises RefusedError or Permanent if the event cannot be right."""
    execution_id = checked_id("execution_id", event.execution_id)
    return NodeExecutionRow(
        id=execution_id,
        tenant_id=_tenant(f"node execution {execution_id}", event.tenant_id),
        app_id=checked_id("app_id", event.app_id),
        workflow_id=checked_id("workflow_id", event.workflow_id),
        triggered_from=checked_text("triggered_from", event.triggered_from),
        workflow_run_id=None if event.ran_alone else checked_id("run_id", event.run_id),
        index=_number("index", event.index, MAX_INTEGER),
        predecessor_node_id=_optional_name("predecessor_node_id", event.predecessor_node_id),
        node_execution_id=_optional_name("node_execution_id", event.node_execution_id),
        node_id=checked_text("node_id", event.node_id),
        node_type=checked_text("node_type", event.node_type),
        title=storable(event.title)[:MAX_TITLE],
        inputs=storable(event.inputs or EMPTY),
        process_data=storable(event.process_data or EMPTY),
        outputs=storable(event.outputs or EMPTY),
        status=_status(event.status, NODE_STATES),
        error=_optional_text(event.error),
        elapsed_time=event.elapsed_time,
        execution_metadata=_optional_text(event.metadata),
        created_by_role=checked_text("created_by_role", event.created_by_role),
        created_by=checked_id("created_by", event.created_by),
        created_at=utc_time(event.started_at),
        finished_at=_optional_time(event.finished_at),
    )


def _tenant(what: str, tenant_id: str | None) -> str:
    if tenant_id is None:
        message = f"{what} names no tenant"
        raise Permanent(message)
    return checked_id("tenant_id", tenant_id)


def _status(status: str, known: frozenset[str]) -> str:
    if status not in known:
        message = f"status {checked_text('status', status)!r} is none of {', '.join(sorted(known))}"
        raise Permanent(message)
    return status


def _number(name: str, value: int, largest: int) -> int:
    if not 0 <= value <= largest:
        message = f"{name} is {value}, which is not between 0 and {largest}"
        raise Permanent(message)
    return value


def _optional_text(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _optional_name(field: str, name: str | None) -> str | None:
    return None if name is None else checked_text(field, name)


def _optional_time(value: datetime | None) -> datetime | None:
    return None if value is None else utc_time(value)


HANDLERS = (save_workflow_run, save_node_execution)
