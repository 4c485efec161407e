"""The way from a librdkafka thread to the event loop."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

logger = logging.getLogger(__name__)


class ThreadBridge:
    """Runs calls on the loop for other threads. What raises there is given to `failed`, on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, failed: Callable[[BaseException], None]) -> None:
        self._loop = loop
        self._failed = failed

    def post(self, call: Callable[..., None], *arguments: object) -> None:
        """Run on the loop, soon. A loop that is closed has no use for it any more.

        asyncio would only log what a callback raises, and records would wait for ever: hence `failed`.
        """

        def run() -> None:
            try:
                call(*arguments)
            except Exception as error:
                logger.exception("a hand-over to the event loop failed")
                self._failed(error)

        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def wait(self, work: Coroutine[Any, Any, None], bound: float) -> bool:
        """Run on the loop and wait at most `bound` seconds; False where it took longer. Raises what `work` raises."""
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.result(bound)
        except TimeoutError:
            future.cancel()
            return False
        return True
