"""Which offset of a partition may be committed: the end of its contiguous settled prefix. Pure."""

from collections import deque
from collections.abc import Iterable


class OffsetTracker:
    """The records of one partition that were handed over, and which of them are settled.

    Offsets are delivered in ascending order and settled in any. Gaps between delivered offsets (compaction,
    transaction markers) hold nothing back.
    """

    __slots__ = ("_committable", "_last", "_open", "_order")

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._open: set[int] = set()
        self._last = -1
        self._committable: int | None = None

    def deliver(self, offset: int) -> None:
        """Note that a record was handed over. Raises ValueError where offsets do not ascend."""
        if offset <= self._last:
            message = f"offset {offset} comes after {self._last}"
            raise ValueError(message)
        self._last = offset
        self._order.append(offset)
        self._open.add(offset)

    def settle(self, offset: int) -> bool:
        """Note that a record is settled; False where it was already. Raises ValueError for one never handed over."""
        if offset not in self._open:
            if offset > self._last:
                message = f"offset {offset} is settled but was never delivered"
                raise ValueError(message)
            return False
        self._open.remove(offset)
        self._advance()
        return True

    def settle_all(self, offsets: Iterable[int]) -> int:
        """As `settle` of each; how many of them were not settled before."""
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
        """The next offset to read after the settled prefix, as Kafka commits it; None: nothing is settled yet."""
        return self._committable

    @property
    def unsettled(self) -> int:
        """How many delivered records are not settled."""
        return len(self._open)
