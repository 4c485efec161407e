"""Files of deleted draft variables."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from schemas import DraftVariableFile, WorkflowDraftVariablesDeleted
from streams.agents.apps import draft_variables
from streams.agents.apps.draft_variables import delete_draft_variable_files
from streams.delivery import Permanent, Retry
from streams.delivery.errors import Reason
from streams.dify.models import UploadFile, WorkflowDraftVariable, WorkflowDraftVariableFile
from tests.support.platform.cleanup_steps import image, stored
from tests.support.platform.handler_runs import Site, open_site

SECTION = "The whole domain"


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path / "files") as opened:
        yield opened


async def _files(site: Site, count: int = 1) -> list[WorkflowDraftVariableFile]:
    """Add files with values, as they are after their variables were deleted."""
    rows = []
    for _ in range(count):
        upload = await image(site, folder="upload_files")
        rows.append(
            WorkflowDraftVariableFile(
                id=str(uuid4()),
                tenant_id=site.tenant_id,
                app_id=str(uuid4()),
                user_id=str(uuid4()),
                upload_file_id=upload.id,
                size=7,
                value_type="string",
            )
        )
        await site.add(upload, rows[-1])
    return rows


def _event(
    site: Site, rows: Sequence[WorkflowDraftVariableFile], tenant: str | None = None
) -> WorkflowDraftVariablesDeleted:
    files = [DraftVariableFile(draft_variable_id=str(uuid4()), draft_variable_file_id=row.id) for row in rows]
    return WorkflowDraftVariablesDeleted(tenant_id=tenant or site.tenant_id, files=files)


@pytest.mark.requirement(SECTION, "workflow.draft-variables-deleted: rows and files go, in bounded steps")
async def test_rows_and_files_go_in_steps(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of other variables stay. A repetition finds nothing."""
    monkeypatch.setattr(draft_variables, "FILES_PER_STEP", 2)
    (kept,), rows = await _files(site), await _files(site, 3)
    event = _event(site, rows)
    removed = {"draft variable files": 2, "files": 2}
    assert await site.run(delete_draft_variable_files, event) == {"done": False, "removed": removed}
    (rest,) = await site.published()
    removed = {"draft variable files": 1, "files": 1}
    assert await site.run(delete_draft_variable_files, rest) == {"done": True, "removed": removed}
    assert await site.count(WorkflowDraftVariableFile) == await site.count(UploadFile) == len(stored(site)) == 1
    assert await site.count(UploadFile, id=kept.upload_file_id) == 1
    nothing = {"draft variable files": 0, "files": 0}
    assert await site.run(delete_draft_variable_files, rest) == {"done": True, "removed": nothing}


@pytest.mark.requirement(SECTION, "workflow.draft-variables-deleted: a file that a variable has is not deleted")
async def test_a_file_that_a_variable_has_stays(site: Site) -> None:
    """The deletion is not committed yet, or was rolled back."""
    (row,) = await _files(site)
    await site.add(
        WorkflowDraftVariable(
            app_id=row.app_id,
            node_id="node-1",
            name="text",
            description="",
            selector='["node-1", "text"]',
            value_type="string",
            value='""',
            visible=True,
            editable=True,
            file_id=row.id,
        )
    )
    with pytest.raises(Retry, match="still has its row") as found:
        await site.run(delete_draft_variable_files, _event(site, [row]))
    assert found.value.reason is Reason.ROW_STILL_EXISTS
    assert len(stored(site)) == await site.count(UploadFile) == 1


@pytest.mark.requirement(SECTION, "workflow.draft-variables-deleted: a step that was rolled back is repeated")
async def test_a_rolled_back_step_is_repeated(site: Site) -> None:
    """The file is deleted, the transaction is not committed. The repetition deletes the rows."""
    rows = await _files(site)
    for row in rows:
        async with site.transaction() as session:
            upload = await session.get_one(UploadFile, row.upload_file_id)
        await site.platform.storage.delete(upload.key)
    removed = {"draft variable files": 1, "files": 1}
    assert await site.run(delete_draft_variable_files, _event(site, rows)) == {"done": True, "removed": removed}


@pytest.mark.requirement(SECTION, "workflow.draft-variables-deleted: files of another tenant stay")
async def test_files_of_another_tenant_stay(site: Site) -> None:
    rows = await _files(site)
    with pytest.raises(Permanent, match="belongs to another tenant"):
        await site.run(delete_draft_variable_files, _event(site, rows, tenant=str(uuid4())))
    assert len(stored(site)) == await site.count(WorkflowDraftVariableFile) == 1
