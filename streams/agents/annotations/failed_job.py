"""Reports a job of annotations that has failed for good."""

from streams.delivery import Work
from streams.dify.annotations.job_keys import JobKeys
from streams.dify.errors import RefusedError
from streams.dify.ids import checked_id
from streams.dify.platform import Platform


async def report_failed_job(keys: JobKeys, job_id: str, work: Work, error: BaseException) -> None:
    """Report the failure to the person who waits. No job has an id that is not a UUID."""
    try:
        job_id = checked_id("job_id", job_id)
    except RefusedError:
        return
    await keys.failed(work.use(Platform).keys, job_id, str(error) or type(error).__name__)
