"""Tasks of workflows: their runs, the executions of their nodes, draft variables, traces."""

import json
from collections.abc import Mapping, Sequence

from schemas import (
    Event,
    TraceRecorded,
    WorkflowDraftVariablesDeleted,
    WorkflowNodeExecutionSaved,
    WorkflowRunSaved,
)
from streams.publishing.bridges.json_values import json_object, utc
from streams.publishing.bridges.platform_tasks.task import PlatformTask


def save_workflow_execution_task(  # noqa: PLR0913, PLR0917 - the task's signature
    execution_data: Mapping[str, object],
    tenant_id: str,
    app_id: str,
    triggered_from: str,
    creator_user_id: str,
    creator_user_role: str,
) -> Event:
    """Return the event for a workflow run. `execution_data`: the fields of the platform's WorkflowExecution."""
    read = json_object(execution_data, "execution_data").get
    return WorkflowRunSaved.model_validate(
        {
            "tenant_id": tenant_id,
            "run_id": read("id_"),
            "app_id": app_id,
            "workflow_id": read("workflow_id"),
            "workflow_type": read("workflow_type"),
            "workflow_version": read("workflow_version"),
            "triggered_from": triggered_from,
            "status": read("status"),
            "graph": json_text(read("graph")),
            "inputs": json_text(read("inputs")),
            "outputs": json_text(read("outputs")),
            "error": read("error_message") or None,
            "total_tokens": read("total_tokens") or 0,
            "total_steps": read("total_steps") or 0,
            "exceptions_count": read("exceptions_count") or 0,
            "created_by_role": creator_user_role,
            "created_by": creator_user_id,
            "started_at": utc(read("started_at")),
            "finished_at": utc(read("finished_at")),
        }
    )


def save_workflow_node_execution_task(  # noqa: PLR0913, PLR0917 - the task's signature
    execution_data: Mapping[str, object],
    tenant_id: str,
    app_id: str,
    triggered_from: str,
    creator_user_id: str,
    creator_user_role: str,
) -> Event:
    """Return the event for the execution of a node. `execution_data`: the fields of WorkflowNodeExecution."""
    read = json_object(execution_data, "execution_data").get
    run_id = read("workflow_execution_id")
    return WorkflowNodeExecutionSaved.model_validate(
        {
            "tenant_id": tenant_id,
            "run_id": run_id or read("id"),
            "ran_alone": not run_id,
            "execution_id": read("id"),
            "node_execution_id": read("node_execution_id"),
            "app_id": app_id,
            "workflow_id": read("workflow_id"),
            "triggered_from": triggered_from,
            "index": read("index"),
            "predecessor_node_id": read("predecessor_node_id"),
            "node_id": read("node_id"),
            "node_type": read("node_type"),
            "title": read("title"),
            "status": read("status"),
            "inputs": json_text(read("inputs")),
            "process_data": json_text(read("process_data")),
            "outputs": json_text(read("outputs")),
            "metadata": json_text(read("metadata")),
            "error": read("error"),
            "elapsed_time": read("elapsed_time") or 0.0,
            "created_by_role": creator_user_role,
            "created_by": creator_user_id,
            "started_at": utc(read("created_at")),
            "finished_at": utc(read("finished_at")),
        }
    )


def delete_draft_variable_files(deletions: Sequence[Mapping[str, object] | list[object]]) -> Event:
    """Return the event for the files of deleted draft variables. Each has the ids of the variable and of its file."""
    fields = ("draft_variable_id", "draft_variable_file_id")
    files = [dict(zip(fields, _pair(deletion), strict=False)) for deletion in deletions]
    return WorkflowDraftVariablesDeleted.model_validate({"files": files})


def _pair(deletion: object) -> list[object]:
    if isinstance(deletion, list):
        return deletion
    read = json_object(deletion, "deletions[]").get
    return [read("draft_var_id"), read("draft_var_file_id")]


def process_trace_tasks(file_info: Mapping[str, object]) -> Event:
    """Return the event for a trace. `file_info`: the app and the file in the storage."""
    read = json_object(file_info, "file_info").get
    return TraceRecorded.model_validate({"app_id": read("app_id"), "file_id": read("file_id")})


def json_text(value: object) -> str:
    """Return a value as the platform's columns have it: an empty one is an empty object."""
    return json.dumps(value or {})


TASKS = (
    PlatformTask(
        "tasks.workflow_execution_tasks.save_workflow_execution_task", save_workflow_execution_task, is_frequent=True
    ),
    PlatformTask(
        "tasks.workflow_node_execution_tasks.save_workflow_node_execution_task",
        save_workflow_node_execution_task,
        is_frequent=True,
    ),
    PlatformTask("tasks.workflow_draft_var_tasks.save_workflow_execution_task", delete_draft_variable_files),
    PlatformTask("tasks.ops_trace_task.process_trace_tasks", process_trace_tasks),
)
