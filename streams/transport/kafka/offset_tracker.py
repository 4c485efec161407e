"""Finds the offset of a partition that may be committed: the end of its contiguous settled prefix. Does no I/O."""

from collections import deque
from collections.abc import Iterable


class OffsetTracker:
    """The delivered records of one partition, and which of them are settled.

    Records are delivered in ascending order of their offsets and settled in any order. Gaps between delivered
    offsets (compaction, transaction markers) do not block the prefix.
    """

    __slots__ = ("_committable", "_last", "_open", "_order")

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._open: set[int] = set()
        self._last = -1
        self._committable: int | None = None

    def deliver(self, offset: int) -> None:
        """Record that a record was delivered. Raises ValueError if offsets do not ascend."""
        if offset <= self._last:
            message = f"offset {offset} comes after {self._last}"
            raise ValueError(message)
        self._last = offset
        self._order.append(offset)
        self._open.add(offset)

    def settle(self, offset: int) -> bool:
        """Settle a record and return whether it was unsettled. Raises ValueError if it was never delivered."""
        if offset not in self._open:
            if offset > self._last:
                message = f"offset {offset} is settled but was never delivered"
                raise ValueError(message)
            return False
        self._open.remove(offset)
        self._advance()
        return True

    def settle_all(self, offsets: Iterable[int]) -> int:
        """Settle several records and return how many were unsettled. Raises ValueError as `settle` does."""
        before = len(self._open)
        for offset in offsets:
            if offset > self._last:
                message = f"offset {offset} is settled but was never delivered"
                raise ValueError(message)
            self._open.discard(offset)
        self._advance()
        return before - len(self._open)

    def _advance(self) -> None:
        order, unsettled = self._order, self._open
        while order and order[0] not in unsettled:
            self._committable = order.popleft() + 1

    @property
    def committable(self) -> int | None:
        """The offset to commit: the next one after the settled prefix. None if nothing is settled yet."""
        return self._committable

    @property
    def unsettled(self) -> int:
        """The number of delivered records that are not settled."""
        return len(self._open)
