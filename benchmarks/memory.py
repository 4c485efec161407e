"""How much memory a process and its children have in use, at most, while they are watched."""

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

_EVERY = 0.05
"""Seconds between two looks."""
_MIB = 1024 * 1024


class MemoryWatch(AbstractContextManager["MemoryWatch"]):
    """Looks at /proc of a process and of all below it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0.0
        """MiB of the process itself."""
        self.peak_of_a_child = 0.0
        """MiB of the largest of its descendants."""

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
            self.peak_of_a_child = max([self.peak_of_a_child, *map(resident, _descendants(self._pid))])


def resident(pid: int) -> float:
    """Resident memory in MiB; 0 for a process that is gone."""
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
