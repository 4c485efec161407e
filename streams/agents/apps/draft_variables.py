"""Handler for deleted draft variables of workflows: deletes the files with their values."""

from schemas import WorkflowDraftVariablesDeleted
from schemas.event import new_event_id
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Retry, Work, handles
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.ids import checked_id
from streams.dify.platform import Platform
from streams.dify.uploads.draft_variables import delete_variable_files, variable_that_has
from streams.dify.uploads.files import FILES_PER_STEP


@handles(WorkflowDraftVariablesDeleted, needs="storage")
async def delete_draft_variable_files(event: WorkflowDraftVariablesDeleted, work: Work) -> JSON:
    """Delete the files in bounded steps. Each step publishes the next one. It retries while a variable has a file."""
    with mapped_errors():
        some = [
            checked_id("draft_variable_file_id", one.draft_variable_file_id) for one in event.files[:FILES_PER_STEP]
        ]
        variable_id = await variable_that_has(work.session, some)
        if variable_id is not None:
            message = f"draft variable {variable_id} still has its row"
            raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
        storage = work.use(Platform).storage
        rows, uploads = await delete_variable_files(work.session, storage, some, event.tenant_id)
    rest = event.files[FILES_PER_STEP:]
    if rest:
        await work.publish(event.model_copy(update={"event_id": new_event_id(), "files": rest}))
    return {"done": not rest, "removed": {"draft variable files": rows, "files": uploads}}


HANDLERS = (delete_draft_variable_files,)
