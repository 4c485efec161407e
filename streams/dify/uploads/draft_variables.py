"""Deletes the files of draft variables with large values: their rows, and their files in the storage."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import WorkflowDraftVariable, WorkflowDraftVariableFile
from streams.dify.sql import affected_rows, one_of
from streams.dify.tenancy import of_event, one_tenant
from streams.dify.uploads.files import delete_files
from streams.storage import Storage


async def variable_that_has(session: AsyncSession, file_ids: Sequence[str]) -> str | None:
    """Return a draft variable that (still) has one of these files; None: no variable has one."""
    named = one_of(WorkflowDraftVariable.file_id, file_ids)
    return await session.scalar(select(WorkflowDraftVariable.id).where(named).limit(1))


async def delete_variable_files(
    session: AsyncSession, storage: Storage, file_ids: Sequence[str], tenant_id: str | None
) -> tuple[int, int]:
    """Delete files of draft variables, first from the storage. Unknown ids are skipped, so it is safe to repeat this.

    Args:
        session: the transaction.
        storage: has the values.
        file_ids: ids of workflow_draft_variable_files.
        tenant_id: the tenant that the event names; None: it names none.

    Returns:
        The numbers of deleted rows of workflow_draft_variable_files and of upload_files.

    Raises:
        ForeignTenantError: the files belong to another tenant, or to several.
    """
    row = WorkflowDraftVariableFile
    query = select(row.id, row.tenant_id, row.upload_file_id).where(one_of(row.id, file_ids))
    found = (await session.execute(query.order_by(row.id).with_for_update())).all()
    owners = ((f"the file {file_id} of a draft variable", owner) for file_id, owner, _ in found)
    owner = one_tenant(of_event(tenant_id), *owners)
    if not found or owner is None:
        return 0, 0
    uploads = await delete_files(session, storage, [upload_id for *_, upload_id in found], owner)
    rows = await affected_rows(session, delete(row).where(row.id.in_([file_id for file_id, *_ in found])))
    return rows, uploads
