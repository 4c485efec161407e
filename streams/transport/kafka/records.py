"""What the transport hands over: records in chunks of one partition, each chunk bound to its assignment."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from streams.headers import Headers, without
from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.offset_tracker import OffsetTracker

__all__ = ["Assignment", "Chunk", "NewRecord", "ProduceError", "Record", "RecordMetadata", "TimestampType"]

TimestampType = Literal["CreateTime", "LogAppendTime"]


class Record:
    """One Kafka record as it came. `timestamp`: ms since the epoch.

    Headers are read when they are asked for: most handlers never do, and they are most of a record's objects.
    """

    __slots__ = (
        "_headers", "_unwanted", "key", "offset", "partition", "timestamp", "timestamp_type", "topic", "value",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917 - what a record is; by position, for one is made for every record
        self,
        topic: str,
        partition: int,
        offset: int,
        timestamp: int,
        timestamp_type: TimestampType,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | Callable[[], Headers],
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp = timestamp
        self.timestamp_type = timestamp_type
        self.key = key
        self.value = value
        self._headers = headers
        self._unwanted: str | None = None

    def __repr__(self) -> str:
        return f"<Record {self.topic}[{self.partition}]@{self.offset}>"

    @property
    def headers(self) -> Headers:
        """The headers in their order, less those that are left out."""
        found = self._headers
        if callable(found) or self._unwanted is not None:
            found = found() if callable(found) else found
            if self._unwanted is not None:
                found = without(found, self._unwanted)
            self._headers, self._unwanted = found, None
        return found

    def leave_out(self, prefix: str) -> None:
        """From now on be without the headers of that prefix."""
        if self._unwanted is not None:
            self._headers = self.headers
        self._unwanted = prefix


class NewRecord(NamedTuple):
    """A record to be produced."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class RecordMetadata:
    """Where an acknowledged record is."""

    topic: str
    partition: int
    offset: int


class Assignment:
    """One partition during one assignment. Its identity is the fence: after revocation it takes no settlement.

    The event loop's thread delivers and settles; any thread may read.
    """

    __slots__ = ("_on_late", "_prefix", "group_id", "partition", "revoked", "revoking", "settled", "start", "topic")

    def __init__(
        self, topic: str, partition: int, group_id: str = "", on_late: Callable[[], None] | None = None
    ) -> None:
        """`on_late` is called for each settlement that came after revocation and was ignored."""
        self.topic = topic
        self.partition = partition
        self.group_id = group_id
        self.revoking = False
        """True while the partition is being given back: finish what runs, begin nothing."""
        self.revoked = False
        """True once it is gone: what is settled now is ignored, and will be done again by its new owner."""
        self.start: int | None = None
        """The offset at which reading begins; None: not known."""
        self.settled = 0
        """How many records were settled in time."""
        self._on_late = on_late
        self._prefix = OffsetTracker()

    def __repr__(self) -> str:
        return f"<Assignment {self.group_id} {self.topic}[{self.partition}]{' revoked' if self.revoked else ''}>"

    @property
    def committable(self) -> int | None:
        """The next offset after the settled prefix; None: nothing is settled yet."""
        return self._prefix.committable

    @property
    def unsettled(self) -> int:
        """Records handed over and not settled."""
        return self._prefix.unsettled

    def deliver(self, records: Sequence[Record]) -> None:
        """Note records as handed over, before they are. Raises ValueError where offsets do not ascend."""
        deliver = self._prefix.deliver
        for record in records:
            deliver(record.offset)

    def settle(self, offset: int) -> None:
        """Settle one record, once or more often. Raises ValueError for an offset never handed over."""
        if self.revoked:
            if self._on_late is not None:
                self._on_late()
        elif self._prefix.settle(offset):
            self.settled += 1

    def settle_all(self, offsets: Iterable[int]) -> None:
        """Settle several; as `settle` of each, at a third of the cost."""
        if self.revoked:
            for offset in offsets:
                self.settle(offset)
        else:
            self.settled += self._prefix.settle_all(offsets)


class Chunk:
    """Records of one partition in ascending order, as a Faust agent's `async for` yields them."""

    __slots__ = ("assignment", "records")

    def __init__(self, assignment: Assignment, records: list[Record]) -> None:
        self.assignment = assignment
        self.records = records

    def __repr__(self) -> str:
        first, last = (self.records[0].offset, self.records[-1].offset) if self.records else ("-", "-")
        return f"<Chunk {self.topic}[{self.partition}] {first}..{last}>"

    @property
    def topic(self) -> str:
        """The topic of all its records."""
        return self.assignment.topic

    @property
    def partition(self) -> int:
        """The partition of all its records."""
        return self.assignment.partition

    def settle(self, offset: int) -> None:
        """Settle the record at an offset, on the event loop's thread; idempotent, ignored after revocation."""
        self.assignment.settle(offset)
