"""Processor time and memory of the compute processes, as the kernel reports them."""

from typing import NamedTuple

import psutil


class ComputeUsage(NamedTuple):
    """The usage of all compute processes of a worker."""

    processes: int
    """How many run now."""
    processor_seconds: float
    """Of all that ran since the worker started."""
    memory_bytes: int
    """Resident memory of those that run now. Pages that they share count in each."""


class UsageMeter:
    """Follows the compute processes of one pool. The processor time never decreases."""

    def __init__(self) -> None:
        self._ended = 0.0
        self._running: dict[int, float] = {}
        """Process id → its processor time when it was read last."""

    def started(self, pid: int) -> None:
        """Note that a process was started."""
        self._running[pid] = 0.0

    def ended(self, pid: int, processor_seconds: float | None) -> None:
        """Note that a process has ended, with its whole processor time; None: nobody waited for it."""
        last = self._running.pop(pid, 0.0)
        self._ended += last if processor_seconds is None else max(last, processor_seconds)

    def processor_seconds(self, pid: int) -> float:
        """Return the processor time of a process. If it has ended, that is what was read last."""
        known = self._running.get(pid, 0.0)
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            return known
        if pid in self._running:
            self._running[pid] = known = max(known, times.user + times.system)
        return known

    def read(self) -> ComputeUsage:
        """Return the usage now."""
        seconds = self._ended + sum(self.processor_seconds(pid) for pid in list(self._running))
        return ComputeUsage(len(self._running), seconds, sum(map(_resident_bytes, self._running)))


def _resident_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
