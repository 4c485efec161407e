"""Calls from a librdkafka thread to the event loop."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

logger = logging.getLogger(__name__)


class ThreadBridge:
    """Runs calls of other threads on the event loop. `on_failure` is called on the loop with what a call raises."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_failure: Callable[[BaseException], None]) -> None:
        self._loop = loop
        self._on_failure = on_failure

    def post(self, call: Callable[..., None], *arguments: object) -> None:
        """Run a call on the loop soon, or never if the loop is closed.

        asyncio only logs what a callback raises, and records would then never be settled: hence `on_failure`.
        """

        def run() -> None:
            try:
                call(*arguments)
            except Exception as error:
                logger.exception("a call on the event loop failed")
                self._on_failure(error)

        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def wait(self, work: Coroutine[Any, Any, None], timeout: float) -> bool:
        """Run `work` on the loop and wait for it. Raises what `work` raises.

        Returns:
            False if it took longer than `timeout` seconds.
        """
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.result(timeout)
        except TimeoutError:
            future.cancel()
            return False
        return True
