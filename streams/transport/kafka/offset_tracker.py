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
        self._open: dict[int, int] = {}
        """Unsettled offset → the timestamp of its record."""
        self._last = -1
        self._committable: int | None = None

    def deliver(self, offset: int, timestamp: int) -> None:
        """Record that a record was delivered; its timestamp is in ms. Raises ValueError if offsets do not ascend."""
        if offset <= self._last:
            message = f"offset {offset} comes after {self._last}"
            raise ValueError(message)
        self._last = offset
        self._order.append(offset)
        self._open[offset] = timestamp

    def settle(self, offset: int) -> bool:
        """Settle a record and return whether it was unsettled. Raises ValueError if it was never delivered."""
        if offset not in self._open:
            if offset > self._last:
                message = f"offset {offset} is settled but was never delivered"
                raise ValueError(message)
            return False
        del self._open[offset]
        self._advance()
        return True

    def settle_all(self, offsets: Iterable[int]) -> int:
        """Settle several records and return how many were unsettled. Raises ValueError as `settle` does."""
        before = len(self._open)
        for offset in offsets:
            if offset > self._last:
                message = f"offset {offset} is settled but was never delivered"
                raise ValueError(message)
            self._open.pop(offset, None)
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

    @property
    def holder_timestamp(self) -> int | None:
        """The timestamp in ms of the first unsettled record, which holds the offset. None: every record is settled.

        Only the thread that delivers and settles may read it.
        """
        return self._open[self._order[0]] if self._order else None
