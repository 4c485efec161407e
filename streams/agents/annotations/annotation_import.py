"""Handler for imports of annotations: inserts them, then indexes them."""

from contextlib import suppress

from schemas import AnnotationsImportRequested
from streams.agents.annotations.annotation_embedding import embed_questions
from streams.agents.error_mapping import mapped_errors
from streams.agents.workspace.coordination_keys import publish_job_end
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import JSON
from streams.dify.annotations.imports import AnnotationImport, insert_annotations
from streams.dify.annotations.index import lock_app, lock_index, questions_of
from streams.dify.errors import RefusedError, ReplyDisabled, Stopped
from streams.dify.ids import checked_id
from streams.dify.platform import Platform
from streams.observability.error_text import owner_message

GROUP_SIZE = 100
"""The number of annotations that one step indexes. A crash repeats at most one step."""


def import_resource(event: AnnotationsImportRequested) -> str:
    """Return the resource that this import locks."""
    return f"annotation-import:{event.job_id}"


async def record_failed_import(event: AnnotationsImportRequested, work: Work, error: BaseException) -> None:
    """Report the failure to the person who waits."""
    await _publish_end(event, work, owner_message(error))


@handles(
    AnnotationsImportRequested,
    kind="long",
    resource=import_resource,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="20m",
    time_limit="22m",
    needs="embeddings",
    on_dead=record_failed_import,
)
async def import_annotations(event: AnnotationsImportRequested, work: Work) -> JSON:
    """Insert the annotations once, then index them in groups if the app answers from its annotations.

    The rows are committed before their vectors, so a change or deletion by a person is seen in every step.
    """
    platform = work.use(Platform)
    try:
        with mapped_errors():
            job_id = checked_id("job_id", event.job_id)
            app_id = checked_id("app_id", event.app_id)
            rows = [(row.question, row.answer) for row in event.rows]
            job = AnnotationImport(job_id, app_id, checked_id("account_id", event.account_id), rows)
            async with work.step() as session:
                await lock_app(session, app_id, event.tenant_id)
                inserted = await insert_annotations(session, job)
            indexed = await _index(event, work, platform, job)
    except Stopped as stopped:
        async with work.step(final=True):
            await _publish_end(event, work, str(stopped))
        return {"skipped": str(stopped)}
    async with work.step(final=True):
        await _publish_end(event, work)
    return {"inserted": inserted, "indexed": indexed}


async def _publish_end(event: AnnotationsImportRequested, work: Work, error: str | None = None) -> None:
    """Publish the end that a person waits for. No job has an id that is not a UUID."""
    with suppress(RefusedError):
        await publish_job_end(work, event.tenant_id, "annotation-import", checked_id("job_id", event.job_id), error)


async def _index(event: AnnotationsImportRequested, work: Work, platform: Platform, job: AnnotationImport) -> int:
    """Index the annotations of a job. Returns the number of indexed annotations."""
    indexed, ids = 0, job.annotation_ids
    try:
        for start in range(0, len(ids), GROUP_SIZE):
            async with work.step() as session:
                await lock_app(session, job.app_id, event.tenant_id)
                index = await lock_index(session, platform, job.app_id)
                questions = await questions_of(session, job.app_id, ids[start : start + GROUP_SIZE])
            embedded = await embed_questions(work, index, questions)
            async with work.step() as session:
                await lock_app(session, job.app_id, event.tenant_id)
                indexed += await embedded.write(session, platform)
            if embedded.error is not None:
                raise embedded.error
    except ReplyDisabled:
        return indexed  # The rows are all that was asked for.
    return indexed


HANDLERS = (import_annotations,)
