"""Deletes what the workflows of an app have stored: executions, drafts and their files, in bounded steps.

Each function returns whether nothing of its kind is left, except rows that cannot be deleted.
"""

from sqlalchemy import select

from streams.dify.cleanup.bounded_deletion import OWNERS_PER_STEP, DeletionStep, Rows, table_of, without_parts
from streams.dify.models import (
    UploadFile,
    WorkflowDraftVariable,
    WorkflowDraftVariableFile,
    WorkflowNodeExecution,
    WorkflowNodeExecutionOffload,
)
from streams.dify.sql import one_of


async def remove_node_executions(step: DeletionStep, which: Rows) -> bool:
    """Delete some executions of nodes, with the files of their large values."""
    found = list(await step.session.scalars(select(WorkflowNodeExecution.id).where(which).limit(OWNERS_PER_STEP)))
    if not found:
        return True
    if not await remove_offloads(step, one_of(WorkflowNodeExecutionOffload.node_execution_id, found)):
        return False
    parts = [WorkflowNodeExecutionOffload.node_execution_id]
    bare = one_of(WorkflowNodeExecution.id, found) & without_parts(WorkflowNodeExecution.id, parts)
    return await step.rows(table_of(WorkflowNodeExecution), bare) < OWNERS_PER_STEP


async def remove_offloads(step: DeletionStep, which: Rows) -> bool:
    """Delete the files of some large values, then the rows that name them."""
    if not await step.files(UploadFile, UploadFile.id.in_(select(WorkflowNodeExecutionOffload.file_id).where(which))):
        return False
    return await step.emptied(table_of(WorkflowNodeExecutionOffload), which)


async def remove_draft_variables(step: DeletionStep, app_id: str) -> bool:
    """Delete some draft variables of an app, with the files of their large values."""
    of_app = WorkflowDraftVariable.app_id == app_id
    query = select(WorkflowDraftVariable.id, WorkflowDraftVariable.file_id).where(of_app).limit(OWNERS_PER_STEP)
    found = (await step.session.execute(query)).all()
    if not found:
        return True
    file_ids = [file_id for _, file_id in found if file_id is not None]
    if not await remove_draft_files(step, one_of(WorkflowDraftVariableFile.id, file_ids)):
        return False
    variables = one_of(WorkflowDraftVariable.id, [variable_id for variable_id, _ in found])
    return await step.rows(table_of(WorkflowDraftVariable), variables) < OWNERS_PER_STEP


async def remove_draft_files(step: DeletionStep, which: Rows) -> bool:
    """Delete some files of draft variables, then the rows that name them."""
    uploads = select(WorkflowDraftVariableFile.upload_file_id).where(which)
    if not await step.files(UploadFile, UploadFile.id.in_(uploads)):
        return False
    return await step.emptied(table_of(WorkflowDraftVariableFile), which)
