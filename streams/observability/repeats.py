"""Limits what is repeated: the first ones of a kind pass, the others are counted. Pure: the caller gives the time."""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class LeftOut(Generic[T]):
    """What did not pass in one window."""

    kind: Hashable
    """None: more kinds came at once than are counted separately."""
    count: int
    first: T
    """What describes the first one that did not pass."""


@dataclass(slots=True)
class _Window(Generic[T]):
    ends_at: float
    passed: int = 0
    left_out: LeftOut[T] | None = None


class Repeats(Generic[T]):
    """Lets a number of each kind pass in a window of time. A kind's window starts with its first one.

    Memory is bounded: if there are too many kinds at once, all further ones share one window.
    """

    def __init__(self, passes: int, seconds: float, kinds: int) -> None:
        """Keep the limits.

        Args:
            passes: How many of a kind pass in one window.
            seconds: The length of a window.
            kinds: The number of windows at a time, without the shared one.
        """
        self._passes = passes
        self._seconds = seconds
        self._kinds = kinds
        self._windows: dict[Hashable, _Window[T]] = {}
        """By kind, the oldest first. All windows have the same length, so the first one ends first."""
        self._ended: deque[LeftOut[T]] = deque()

    def admit(self, kind: Hashable, now: float, describe: Callable[[], T]) -> bool:
        """Return whether this one passes.

        Args:
            kind: What it is.
            now: Seconds. The time never goes back.
            describe: Called for the first one of a window that does not pass.
        """
        self._end_windows(now)
        window = self._windows.get(kind)
        if window is None:
            kind = kind if len(self._windows) < self._kinds else None
            window = self._windows.setdefault(kind, _Window(now + self._seconds))
        if window.passed < self._passes:
            window.passed += 1
            return True
        if window.left_out is None:
            window.left_out = LeftOut(kind, 0, describe())
        window.left_out.count += 1
        return False

    def ended(self, now: float) -> list[LeftOut[T]]:
        """Return what did not pass in the windows that have ended by now, each of them once."""
        self._end_windows(now)
        found = list(self._ended)
        self._ended.clear()
        return found

    @property
    def next_end(self) -> float | None:
        """When the next window ends of which something did not pass, in seconds; None: there is none."""
        if self._ended:
            return 0.0
        return next((one.ends_at for one in self._windows.values() if one.left_out is not None), None)

    def _end_windows(self, now: float) -> None:
        while self._windows:
            kind, window = next(iter(self._windows.items()))
            if window.ends_at > now:
                return
            del self._windows[kind]
            if window.left_out is not None:
                self._ended.append(window.left_out)
