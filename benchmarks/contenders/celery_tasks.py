"""Celery as the platform uses it: one task per message or state, each with its own transaction."""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from celery import Celery
from pydantic import BaseModel
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session

from streams.database.engines import DIALECT
from streams.dify.models import WorkflowNodeExecution

app = Celery("peer")
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
CHARGE = text(
    """
    update providers set quota_used = quota_used + :used
    where tenant_id = :tenant and provider_name = 'openai' and provider_type = 'system' and quota_type = 'trial'
        and quota_limit > quota_used
    """
)


@lru_cache(maxsize=1)
def engine() -> Engine:
    """Return the engine, with one connection per process."""
    return create_engine(os.environ["STREAMS_DATABASE_URL"].replace("postgresql", DIALECT, 1), pool_size=1)


@app.task(name="charge")  # type: ignore[untyped-decorator]  # Celery has no types for it
def charge(tenant: str, used: int) -> None:
    """Execute the platform's update B. Its update A runs once in 300 s and costs nothing here."""
    with engine().begin() as connection:
        connection.execute(CHARGE, {"tenant": tenant, "used": used})


class NodeExecution(BaseModel):
    """The argument of a task that saves a node execution, as JSON."""

    id: str
    workflow_id: str
    workflow_execution_id: str
    node_execution_id: str
    index: int
    predecessor_node_id: str
    node_id: str
    node_type: str
    title: str
    inputs: Mapping[str, object]
    process_data: Mapping[str, object]
    outputs: Mapping[str, object]
    status: str
    error: str | None
    elapsed_time: float
    metadata: Mapping[str, object]
    created_at: datetime
    finished_at: datetime | None


@app.task(name="save_node_execution")  # type: ignore[untyped-decorator]  # as above
def save_node_execution(
    execution_data: dict[str, object], tenant_id: str, app_id: str, triggered_from: str, creator_user_id: str
) -> None:
    """Look the row up by its id, then insert or change it: the way of the platform's task."""
    execution = NodeExecution.model_validate(execution_data)
    with Session(engine()) as session:
        row = session.scalar(select(WorkflowNodeExecution).where(WorkflowNodeExecution.id == execution.id))
        if row is None:
            row = WorkflowNodeExecution(
                id=execution.id,
                tenant_id=tenant_id,
                app_id=app_id,
                workflow_id=execution.workflow_id,
                triggered_from=triggered_from,
                workflow_run_id=execution.workflow_execution_id,
                index=execution.index,
                predecessor_node_id=execution.predecessor_node_id,
                node_execution_id=execution.node_execution_id,
                node_id=execution.node_id,
                node_type=execution.node_type,
                title=execution.title,
                created_at=execution.created_at,
                created_by_role="account",
                created_by=creator_user_id,
            )
            session.add(row)
        row.inputs = json.dumps(execution.inputs)
        row.process_data = json.dumps(execution.process_data)
        row.outputs = json.dumps(execution.outputs)
        row.status = execution.status
        row.error = execution.error
        row.elapsed_time = execution.elapsed_time
        row.execution_metadata = json.dumps(execution.metadata)
        row.finished_at = execution.finished_at
        session.commit()
