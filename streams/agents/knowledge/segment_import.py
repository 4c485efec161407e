"""Handler for imports: adds the rows of a CSV file to a document as segments."""

import asyncio
from contextlib import suppress
from itertools import islice

from schemas import SegmentsImportRequested
from streams.agents.error_mapping import mapped_errors
from streams.agents.knowledge.document_indexing import document_resource
from streams.agents.knowledge.document_loading import load_keywords, load_vectors
from streams.agents.workspace.coordination_keys import publish_job_end
from streams.delivery import Backoff, ProcessorTimeExceededError, Work, handles
from streams.delivery.handler import JSON
from streams.delivery.temporary_folder import temporary_folder
from streams.dify.errors import ExtractionError, ForeignTenantError, RefusedError, Stopped
from streams.dify.ids import checked_id, optional_id
from streams.dify.imports import segments
from streams.dify.imports.csv_rows import ImportRequest, ReadRows, read_rows, rows_in
from streams.dify.imports.segments import ImportJob, ImportSource
from streams.dify.indexing.prepare import reading_seconds
from streams.dify.platform import Platform
from streams.dify.reindexing.segments import Place
from streams.observability.error_text import owner_message
from streams.observability.logs import get_logger

log = get_logger(__name__)


async def record_failed_import(event: SegmentsImportRequested, work: Work, error: BaseException) -> None:
    """Record the failure in the segments without a vector, and in the job's key, which a person waits for."""
    try:
        place, source = _place(event), _source(event)
        await segments.record_failure(work.session, place, source.job_id, owner_message(error))
    except ForeignTenantError:
        return
    except RefusedError:
        log.warning("an id of the import is not a UUID; only its key is set", job=event.job_id)
    await _publish_end(event, work, owner_message(error))


@handles(
    SegmentsImportRequested,
    kind="long",
    resource=document_resource,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="30m",
    time_limit="35m",
    needs=("embeddings", "storage"),
    on_dead=record_failed_import,
)
async def import_segments(event: SegmentsImportRequested, work: Work) -> JSON:
    """Insert the usable rows of a CSV file as segments, and write their vectors or keywords.

    Rows that cannot be used are in the result, with their reasons. If the document is deleted, the work stops.
    """
    platform = work.use(Platform)
    try:
        with mapped_errors():
            place, source = _place(event), _source(event)
            async with work.step() as session:
                job = await segments.begin(session, platform, place, source)
            read = await _insert(job, work, platform)
            if job.target.embedder is None:
                await load_keywords(job.target, work, platform)
            else:
                await load_vectors(job.target, job.target.embedder, work, platform)
            async with work.step(final=True) as session:
                await segments.finish(session, platform, job)
                await _publish_end(event, work)
    except Stopped as stopped:
        async with work.step(final=True):
            await _publish_end(event, work, str(stopped))
        return {"skipped": str(stopped)}
    return {"segments": read.usable, "refused": read.refused, "rows": [one._asdict() for one in read.reports]}


async def _insert(job: ImportJob, work: Work, platform: Platform) -> ReadRows:
    content = await platform.storage.read(job.file.key)
    with temporary_folder() as folder:
        request = ImportRequest(folder, job.target.form, job.children, job.target.embedder is not None)
        await asyncio.to_thread(request.source.write_bytes, content)
        limit = reading_seconds(len(content))
        del content  # Frees the memory: the file may be large, and it is in the folder now.
        try:
            read = await work.compute_within(limit, read_rows, request)
        except ProcessorTimeExceededError as error:
            message = f"the file needs more than {limit:.0f} s of processor time to be read; split it into several"
            raise ExtractionError(message) from error
        rows = rows_in(request)
        while some := list(islice(rows, segments.ROWS_PER_STEP)):
            async with work.step() as session:
                await segments.insert_rows(session, job, some)
    return read


def _place(event: SegmentsImportRequested) -> Place:
    return Place(
        checked_id("dataset_id", event.dataset_id),
        checked_id("document_id", event.document_id),
        optional_id("tenant_id", event.tenant_id),
    )


def _source(event: SegmentsImportRequested) -> ImportSource:
    return ImportSource(
        checked_id("job_id", event.job_id),
        checked_id("upload_file_id", event.upload_file_id),
        checked_id("account_id", event.account_id),
    )


async def _publish_end(event: SegmentsImportRequested, work: Work, error: str | None = None) -> None:
    """Publish the end that a person waits for. No job has an id that is not a UUID."""
    with suppress(RefusedError):
        await publish_job_end(work, event.tenant_id, "segment-import", checked_id("job_id", event.job_id), error)


HANDLERS = (import_segments,)
