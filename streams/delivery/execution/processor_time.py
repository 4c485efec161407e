"""The processor time of the event loop's thread, cheap enough to read it around each step of a handler."""

from time import perf_counter, thread_time
from typing import Protocol

WINDOW = 0.001
"""Seconds. The kernel's clock of a thread costs twenty times as much as the wall clock, so it is read this often."""


class ProcessorSeconds(Protocol):
    """What the processor time of an attempt is added to."""

    processor_seconds: float


class ThreadClock:
    """The processor time of one thread, which must be the only one that reads it.

    Within `WINDOW` after it was read from the kernel, the thread counts as running. So a time that the thread waited
    or was suspended is not counted, except a part shorter than `WINDOW`.
    """

    __slots__ = ("_processor", "_read_at")

    def __init__(self) -> None:
        self._processor = 0.0
        self._read_at = 0.0

    def seconds(self) -> float:
        """Return the processor time in seconds since an unspecified moment."""
        since = perf_counter() - self._read_at
        if since < WINDOW:
            return self._processor + since
        self._processor = thread_time()
        self._read_at = perf_counter()
        return self._processor


THREAD_CLOCK = ThreadClock()
"""The clock of the event loop's thread. A worker has one event loop."""
