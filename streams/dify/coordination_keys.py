"""The platform's coordination keys in Redis. While a key is set, the API rejects a second request of a user.

The keys are optional and expire. So a delivery never fails because Redis is unavailable.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.dify.redis import RedisClients
from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
_RETRY_SECONDS = 0.3
"""Seconds before the second and last attempt."""
_QUIET_SECONDS = 30.0
"""Seconds without requests after Redis did not answer."""
NO_ANSWER = "Redis does not answer; the platform's keys expire without it"
_JOB_SECONDS = 600
_KEYS = ("document_{}_is_retried", "document_{}_is_sync")


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
        """Set the states of jobs that a person waits for, all keys at once. They expire as on the platform."""

        async def set_all(client: Redis) -> None:
            async with client.pipeline(transaction=True) as pipeline:
                for key, state in states.items():
                    pipeline.set(key, state, ex=_JOB_SECONDS)
                await pipeline.execute()

        await self._call(set_all)

    async def increment(self, key: str) -> None:
        """Add one to a counter that never expires."""
        await self._call(lambda client: client.incr(key))

    async def _call(self, command: Callable[[Redis], Awaitable[object]]) -> None:
        if time.monotonic() < self._retry_at:
            return
        # Two attempts: a failover may be in progress, or only the pooled connection is closed.
        for pause in (_RETRY_SECONDS, None):
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
