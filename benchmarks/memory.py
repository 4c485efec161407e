"""Measures the peak memory of a process and its descendants."""

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

_EVERY = 0.05
"""Seconds between two measurements."""
_MIB = 1024 * 1024


class MemoryWatch(AbstractContextManager["MemoryWatch"]):
    """Reads /proc of a process and of all its descendants."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0.0
        """MiB of the process itself."""
        self.child_peak = 0.0
        """MiB of its largest descendant."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            self.peak = max(self.peak, resident(self._pid))
            self.child_peak = max([self.child_peak, *map(resident, _descendants(self._pid))])


def resident(pid: int) -> float:
    """Return the resident memory in MiB; 0 for a process that has ended."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return int(fields[1]) * 4096 / _MIB


def _descendants(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found
