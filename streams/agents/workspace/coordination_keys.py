"""Handlers that bring the platform's keys in Redis into line with what was committed.

The event is written in the transaction of the state that the key mirrors. So the key follows, also after a crash that
comes right after the commit. While Redis does not answer, the event waits.

This is for keys that would be wrong for long: those of jobs, which the platform sets without an expiry time, and those
of collections, which live for an hour.
"""

from collections.abc import Sequence

from schemas import CollectionsDropped, JobEnded
from schemas.workspace.job import JobKind
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Work, handles
from streams.delivery.handler import JSON
from streams.dify.coordination_keys import SHOWN, job_states
from streams.dify.errors import RedisAwayError
from streams.dify.ids import checked_id, storable
from streams.dify.platform import Platform
from streams.dify.vector_collections import existence_keys


async def publish_job_end(
    work: Work, tenant_id: str | None, kind: JobKind, job_id: str, error: str | None = None
) -> None:
    """Publish in the open transaction that a job has ended.

    Args:
        work: The attempt. Its transaction is the one that ends the job.
        tenant_id: The tenant of the job.
        kind: The kind of the job.
        job_id: The job.
        error: Why it has failed; None: it is complete.
    """
    text = None if error is None else storable(error)[:SHOWN]
    await work.publish(JobEnded(tenant_id=tenant_id, kind=kind, job_id=job_id, error=text))


async def publish_dropped(work: Work, tenant_id: str | None, collections: Sequence[str]) -> None:
    """Publish in the open transaction that it drops these collections, if there are any."""
    if collections:
        await work.publish(CollectionsDropped(tenant_id=tenant_id, collections=list(collections)))


@handles(JobEnded, needs=RedisAwayError.service)
async def report_job_end(event: JobEnded, work: Work) -> JSON:
    """Set the keys of a job to its outcome. They expire as on the platform."""
    with mapped_errors():
        states = job_states(event.kind, checked_id("job_id", event.job_id), event.error)
        await work.use(Platform).keys.set_jobs(states)
    return {"keys": len(states)}


@handles(CollectionsDropped, needs=RedisAwayError.service)
async def forget_collections(event: CollectionsDropped, work: Work) -> JSON:
    """Delete the keys by which the platform remembers that the collections exist."""
    with mapped_errors():
        return {"deleted": await work.use(Platform).keys.forget(existence_keys(event.collections))}


HANDLERS = (report_job_end, forget_collections)
