"""Many texts asked about at once, so that one text's trouble is its own and what is answered is not lost."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping

from streams.dify.errors import BusyError, NoAnswerError, RefusedError
from streams.dify.qa.chat import LONGEST_WAIT, Asker, Pair

AT_ONCE = 10
"""Texts under way at the same time, as on the platform."""
FAILURES_AT_MOST = 10
"""Texts that may fail before no further one is sent: by then it is the endpoint that fails."""

Answers = dict[str, tuple[Pair, ...]]
"""By the text's key."""


async def ask_all(asker: Asker, texts: Mapping[str, str], language: str) -> AsyncGenerator[Answers]:
    """Answers as they come. At the end raises what made a text fail: the others have been answered by then.

    Raises RefusedError where one was refused for good, else the BusyError with the longest wait, else NoAnswerError.
    """
    waiting = deque(texts.items())
    running: dict[asyncio.Task[tuple[Pair, ...]], str] = {}
    failures: list[BaseException] = []
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                key, text = waiting.popleft()
                running[asyncio.create_task(asker.pairs(text, language))] = key
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            failed = [error for task in done if (error := task.exception()) is not None]
            answers = {running.pop(task): task for task in done}
            failures += failed
            if any(map(_silences, failed)) or len(failures) >= FAILURES_AT_MOST:
                waiting.clear()
            yield {key: task.result() for key, task in answers.items() if task.exception() is None}
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if failures:
        raise max(failures, key=_weight)


def _silences(error: BaseException) -> bool:
    """Whether it is about more than one text: an endpoint that asks for a long pause, a refusal, a fault of ours."""
    return error.after > LONGEST_WAIT if isinstance(error, BusyError) else not isinstance(error, NoAnswerError)


def _weight(error: BaseException) -> tuple[int, float]:
    """Faults of ours first, then what cannot be mended; of the rest the longest wait."""
    if isinstance(error, BusyError):
        return 1, error.after
    if isinstance(error, RefusedError):
        return 2, 0.0
    return (0, 0.0) if isinstance(error, NoAnswerError) else (3, 0.0)
