"""The platform's coordination keys in Redis: while one is set, its API refuses what a person asks for once more.

They are a courtesy, not the truth: they run out by themselves, so a Redis that is away never fails a delivery.
"""

import asyncio
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from redis.asyncio import Redis
from redis.exceptions import RedisError

from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
_PAUSE = 0.3
"""Seconds until the second try, which is the last one."""
_QUIET = 30.0
"""Seconds in which a Redis that did not answer is not asked again."""
NO_ANSWER = "Redis does not answer; the platform's keys run out by themselves"
_OF_AN_INDEXING = ("document_{}_is_retried", "document_{}_is_sync")


class IndexingFlags:
    """The keys of one Redis; one client an event loop."""

    def __init__(self, open_client: Callable[[], Redis], seconds: float) -> None:
        """`open_client` makes a client, `seconds` bounds a call with all that it takes."""
        self._open_client = open_client
        self._seconds = seconds
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Redis] = WeakKeyDictionary()
        self._quiet_until = 0.0

    async def indexing_ended(self, document_id: str) -> None:
        """The document may be retried or synchronised again."""
        if time.monotonic() < self._quiet_until:
            return
        # Twice: the master may be on the move, or only the connection that was kept is gone.
        for pause in (_PAUSE, None):
            try:
                async with asyncio.timeout(self._seconds):
                    await self._client().delete(*(key.format(document_id) for key in _OF_AN_INDEXING))
            except (RedisError, OSError, TimeoutError) as error:
                if time.monotonic() < self._quiet_until:  # another document's end has found out, and told
                    return
                if pause is not None:
                    await asyncio.sleep(pause)
                    continue
                self._quiet_until = time.monotonic() + _QUIET
                log.warning(NO_ANSWER, error=message(error))
            else:
                return

    def _client(self) -> Redis:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._open_client()
        return client
