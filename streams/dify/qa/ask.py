"""Sends many texts to a chat model concurrently. One failed text does not affect the others, and no answer is lost."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping

from streams.dify.errors import BusyError, NoAnswerError, RefusedError
from streams.dify.qa.chat import MAX_WAIT, ChatClient, Pair

CONCURRENCY = 10
"""The number of concurrent requests, as on the platform."""
MAX_FAILURES = 10
"""The number of failed texts after which no more texts are sent. By then the endpoint itself is failing."""

Answers = dict[str, tuple[Pair, ...]]
"""Key: the key of the text."""


async def ask_all(chat: ChatClient, texts: Mapping[str, str], language: str) -> AsyncGenerator[Answers]:
    """Yield answers as they arrive. At the end, raise the error of a failed text; the other texts are answered by then.

    Raises RefusedError if a text was rejected for good, else BusyError with the longest wait, else NoAnswerError.
    """
    waiting = deque(texts.items())
    running: dict[asyncio.Task[tuple[Pair, ...]], str] = {}
    failures: list[BaseException] = []
    try:
        while waiting or running:
            while waiting and len(running) < CONCURRENCY:
                key, text = waiting.popleft()
                running[asyncio.create_task(chat.pairs(text, language))] = key
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            failed = [error for task in done if (error := task.exception()) is not None]
            answers = {running.pop(task): task for task in done}
            failures += failed
            if any(map(_affects_all, failed)) or len(failures) >= MAX_FAILURES:
                waiting.clear()
            yield {key: task.result() for key, task in answers.items() if task.exception() is None}
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if failures:
        raise max(failures, key=_weight)


def _affects_all(error: BaseException) -> bool:
    """Return whether an error concerns more than one text: a long wait, a rejection, or a bug."""
    return error.after > MAX_WAIT if isinstance(error, BusyError) else not isinstance(error, NoAnswerError)


def _weight(error: BaseException) -> tuple[int, float]:
    """Return the rank of an error: bugs first, then rejections, then the longest wait."""
    if isinstance(error, BusyError):
        return 1, error.after
    if isinstance(error, RefusedError):
        return 2, 0.0
    return (0, 0.0) if isinstance(error, NoAnswerError) else (3, 0.0)
