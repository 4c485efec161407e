"""The platform's coordination keys in Redis. While a key is set, the API rejects a second request of a user.

These keys are optional and expire within ten minutes. So a delivery never fails because Redis is unavailable. The keys
of jobs and collections would be wrong for longer: they are for handlers of their own, which wait for Redis.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.workspace.job import JobKind
from streams.dify.redis import RedisClients, answer_within
from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
RETRY_SECONDS = 0.3
"""Seconds before the second and last attempt."""
_QUIET_SECONDS = 30.0
"""Seconds without requests after Redis did not answer."""
NO_ANSWER = "Redis does not answer; the platform's keys expire without it"
_JOB_SECONDS = 600
_KEYS = ("document_{}_is_retried", "document_{}_is_sync")
SHOWN = 1000
"""Characters of an error in its key."""
_JOB_STATUS: Mapping[JobKind, str] = {
    "segment-import": "segment_batch_import_{}",
    "annotation-import": "app_annotation_batch_import_{}",
    "annotation-reply-enabling": "enable_app_annotation_job_{}",
    "annotation-reply-disabling": "disable_app_annotation_job_{}",
}
"""The API sets the status "waiting" without an expiry time. So every way out of a job has to set another one."""
_JOB_ERROR: Mapping[JobKind, str] = {
    "annotation-import": "app_annotation_batch_import_error_msg_{}",
    "annotation-reply-enabling": "enable_app_annotation_error_{}",
    "annotation-reply-disabling": "disable_app_annotation_error_{}",
}
"""The import of segments has no key for its error."""


class CoordinationKeys:
    """The keys of one Redis. There is one client per event loop."""

    def __init__(self, open_client: Callable[[], Redis], seconds: float) -> None:
        """`open_client` creates a client. `seconds` limits one call, including the connection."""
        self._redis = RedisClients(open_client)
        self._seconds = seconds
        self._retry_at = 0.0

    async def indexing_ended(self, document_id: str) -> None:
        """Delete the keys of a document, so that it can be retried or synchronised again."""
        await self.delete(*(key.format(document_id) for key in _KEYS))

    async def delete(self, *keys: str) -> None:
        """Delete keys of the platform."""
        if keys:
            await self._call(lambda client: client.delete(*keys))

    async def set_jobs(self, states: Mapping[str, str]) -> None:
        """Set the states of jobs that a person waits for, all keys at once. They expire as on the platform.

        Raises RedisAwayError.
        """
        async with answer_within(self._seconds), self._redis.current().pipeline(transaction=True) as pipeline:
            for key, state in states.items():
                pipeline.set(key, state, ex=_JOB_SECONDS)
            await pipeline.execute()

    async def forget(self, keys: Sequence[str]) -> int:
        """Delete keys that must not stay. Returns the number of deleted keys. Raises RedisAwayError."""
        if not keys:
            return 0
        async with answer_within(self._seconds):
            deleted: int = await self._redis.current().delete(*keys)
        return deleted

    async def increment(self, key: str) -> None:
        """Add one to a counter that never expires."""
        await self._call(lambda client: client.incr(key))

    async def _call(self, command: Callable[[Redis], Awaitable[object]]) -> None:
        if time.monotonic() < self._retry_at:
            return
        # Two attempts: a failover may be in progress, or only the pooled connection is closed.
        for pause in (RETRY_SECONDS, None):
            try:
                async with asyncio.timeout(self._seconds):
                    await command(self._redis.current())
            except (RedisError, OSError, TimeoutError) as error:
                if time.monotonic() < self._retry_at:  # another task found the failure and logged it
                    return
                if pause is not None:
                    await asyncio.sleep(pause)
                    continue
                self._retry_at = time.monotonic() + _QUIET_SECONDS
                log.warning(NO_ANSWER, error=message(error))
            else:
                return


def job_states(kind: JobKind, job_id: str, error: str | None) -> dict[str, str]:
    """Return the keys of a job and their values. `error` None: the job is complete."""
    states = {_JOB_STATUS[kind].format(job_id): "completed" if error is None else "error"}
    if error is not None and kind in _JOB_ERROR:
        states[_JOB_ERROR[kind].format(job_id)] = error
    return states
