"""The keys in Redis by which the console reports jobs of annotations.

The API sets the status "waiting" without an expiry time. So every way out of a job has to set another one.
"""

from dataclasses import dataclass

from streams.dify.coordination_keys import CoordinationKeys
from streams.dify.ids import storable

_SHOWN = 1000
"""Characters of an error in its key."""


@dataclass(frozen=True, slots=True)
class JobKeys:
    """The names of the keys of one kind of job, with a place for its id."""

    status: str
    error: str

    async def completed(self, keys: CoordinationKeys, job_id: str) -> None:
        """Report that the job is done."""
        await keys.set_jobs({self.status.format(job_id): "completed"})

    async def failed(self, keys: CoordinationKeys, job_id: str, message: str) -> None:
        """Report that the job has failed, and why."""
        values = {self.error.format(job_id): storable(message)[:_SHOWN], self.status.format(job_id): "error"}
        await keys.set_jobs(values)


ENABLE = JobKeys("enable_app_annotation_job_{}", "enable_app_annotation_error_{}")
DISABLE = JobKeys("disable_app_annotation_job_{}", "disable_app_annotation_error_{}")
IMPORT = JobKeys("app_annotation_batch_import_{}", "app_annotation_batch_import_error_msg_{}")
