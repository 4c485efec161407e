"""The transport's records: read in chunks of one partition, each chunk bound to its assignment."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import methodcaller
from time import perf_counter
from typing import Literal, NamedTuple, Protocol, TypeAlias

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from streams.headers import Headers, without
from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.offset_tracker import OffsetTracker

__all__ = ["Assignment", "Chunk", "NewRecord", "ProduceError", "Record", "RecordMetadata", "TimestampType", "to_record"]

TimestampType = Literal["CreateTime", "LogAppendTime"]
_ClientHeaders: TypeAlias = list[tuple[str, str | bytes | None]] | dict[str, str | bytes | None] | None


class HeaderSource(Protocol):
    """What has a record's headers, such as the client's message."""

    def headers(self) -> _ClientHeaders:
        """Return the headers. The client creates them at the first call, and returns the same ones again."""


_client_headers: Callable[[HeaderSource], _ClientHeaders]
_client_headers = methodcaller("headers")
"""Calls `Message.headers`. For a name that is no UTF-8 it returns a broken list together with an error.

Only a call from C checks for that. CPython's specialised bytecode does not, and reading the list ends the process.
"""


class Record:
    """One consumed Kafka record. `timestamp` is in ms since the epoch.

    Headers are parsed on first access: most handlers never read them, and they are most of a record's objects.
    """

    __slots__ = (
        "_dropped_prefix", "_headers", "headers_error", "key", "offset", "partition", "timestamp", "timestamp_type",
        "topic", "value",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917 - a record's fields; by position, since one is created per record
        self,
        topic: str,
        partition: int,
        offset: int,
        timestamp: int,
        timestamp_type: TimestampType,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | HeaderSource,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp = timestamp
        self.timestamp_type = timestamp_type
        self.key = key
        self.value = value
        self._headers = headers
        self._dropped_prefix: str | None = None
        self.headers_error: str | None = None
        """Why the headers cannot be read. It is known once they were accessed."""

    def __repr__(self) -> str:
        return f"<Record {self.topic}[{self.partition}]@{self.offset}>"

    @property
    def headers(self) -> Headers:
        """The headers in their order, without the dropped ones. Empty if they cannot be read: see `headers_error`."""
        found = self._headers
        if not isinstance(found, tuple) or self._dropped_prefix is not None:
            if not isinstance(found, tuple):
                found = self._read(found)
            if self._dropped_prefix is not None:
                found = without(found, self._dropped_prefix)
            self._headers, self._dropped_prefix = found, None
        return found

    def last_header(self, name: str) -> bytes | None:
        """Return the last value of a header. None: there is none.

        A worker with traces asks that for each record, so nothing is copied. The dropped headers are found.
        """
        found = self._headers
        pairs: Sequence[tuple[str, str | bytes | None]]
        if isinstance(found, tuple):
            pairs = found
        else:
            try:
                asked = _client_headers(found)
            except Exception as error:  # noqa: BLE001 - as in `_read`
                self._note_failure(error)
                return None
            pairs = asked if isinstance(asked, list) else _as_bytes(asked)
        for header, value in reversed(pairs):
            if header == name:
                return value.encode() if isinstance(value, str) else value
        return None

    def _read(self, source: HeaderSource) -> Headers:
        """Return all headers; none if that fails."""
        try:
            return _as_bytes(_client_headers(source))
        except Exception as error:  # noqa: BLE001 - the client raises UnicodeDecodeError or SystemError
            self._note_failure(error)
            return ()

    def _note_failure(self, error: Exception) -> None:
        """Let the record have no headers. The client may end the process if it is asked for them again."""
        self._headers = ()
        self.headers_error = f"the headers cannot be read: {error.__cause__ or error}"

    def forget_headers(self) -> None:
        """Let the record have no headers. The ones that are not parsed yet never are."""
        self._headers, self._dropped_prefix = (), None

    def drop_headers(self, prefix: str) -> None:
        """Remove the headers whose names start with `prefix`."""
        if self._dropped_prefix is not None:
            self._headers = self.headers
        self._dropped_prefix = prefix


class NewRecord(NamedTuple):
    """A record to produce."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class RecordMetadata:
    """The position of an acknowledged record."""

    topic: str
    partition: int
    offset: int


class Assignment:
    """One partition during one assignment. After revocation it ignores settlements: its identity is the fence.

    The event loop's thread delivers and settles. Any thread may read the other attributes.
    """

    __slots__ = (
        "_on_late", "_prefix", "group_id", "last_added", "partition", "revoked", "revoking", "settled", "start",
        "topic",
    )  # fmt: skip

    def __init__(
        self, topic: str, partition: int, group_id: str = "", on_late: Callable[[], None] | None = None
    ) -> None:
        """Create the assignment.

        Args:
            topic: The topic of the partition.
            partition: The partition's number.
            group_id: The consumer group.
            on_late: Called for each settlement that is ignored because it follows the revocation.
        """
        self.topic = topic
        self.partition = partition
        self.group_id = group_id
        self.revoking = False
        """True while the partition is being revoked: running work finishes, no work starts."""
        self.revoked = False
        """True once the partition is revoked. Settlements are ignored, and the new owner repeats the work."""
        self.start: int | None = None
        """The first offset to read. None if it is not known."""
        self.settled = 0
        """The number of records that were settled before the revocation."""
        self.last_added = -1
        """The last offset that the delivery engine has added to its lanes."""
        self._on_late = on_late
        self._prefix = OffsetTracker()

    def __repr__(self) -> str:
        return f"<Assignment {self.group_id} {self.topic}[{self.partition}]{' revoked' if self.revoked else ''}>"

    @property
    def committable(self) -> int | None:
        """The next offset after the settled prefix. None if nothing is settled yet."""
        return self._prefix.committable

    @property
    def unsettled(self) -> int:
        """The number of delivered records that are not settled."""
        return self._prefix.unsettled

    @property
    def holder_timestamp(self) -> int | None:
        """The timestamp in ms of the record that holds the offset. None: nothing is unsettled. Event loop only."""
        return self._prefix.holder_timestamp

    def deliver(self, records: Sequence[Record]) -> None:
        """Record that records are about to be delivered. Raises ValueError if offsets do not ascend."""
        deliver = self._prefix.deliver
        for record in records:
            deliver(record.offset, record.timestamp)

    def settle(self, offset: int) -> None:
        """Settle one record; repeating this does nothing. Raises ValueError for an offset that was never delivered."""
        if self.revoked:
            if self._on_late is not None:
                self._on_late()
        elif self._prefix.settle(offset):
            self.settled += 1

    def settle_all(self, offsets: Iterable[int]) -> None:
        """Settle several records. Same result as `settle` for each, at a third of the cost."""
        if self.revoked:
            for offset in offsets:
                self.settle(offset)
        else:
            self.settled += self._prefix.settle_all(offsets)


class Chunk:
    """Records of one partition in ascending order, as a Faust agent's `async for` yields them."""

    __slots__ = ("assignment", "decoded_at", "fetched_at", "records")

    def __init__(self, assignment: Assignment, records: list[Record], fetched_at: float | None = None) -> None:
        """Create a chunk.

        Args:
            assignment: The partition, as it is assigned now.
            records: In ascending order.
            fetched_at: When they were fetched, in seconds of `time.perf_counter`; None: now.
        """
        self.assignment = assignment
        self.records = records
        self.fetched_at = perf_counter() if fetched_at is None else fetched_at
        self.decoded_at = self.fetched_at
        """When they were decoded. Set by the delivery engine."""

    def __repr__(self) -> str:
        first, last = (self.records[0].offset, self.records[-1].offset) if self.records else ("-", "-")
        return f"<Chunk {self.topic}[{self.partition}] {first}..{last}>"

    @property
    def topic(self) -> str:
        """The topic of all records of the chunk."""
        return self.assignment.topic

    @property
    def partition(self) -> int:
        """The partition of all records of the chunk."""
        return self.assignment.partition

    def settle(self, offset: int) -> None:
        """Settle the record at `offset`. Idempotent, ignored after revocation. Call it on the event loop's thread."""
        self.assignment.settle(offset)


def to_record(message: Message) -> Record:
    """Return the record of a consumed message without an error."""
    kind, timestamp = message.timestamp()
    # By position: one is created per record, and keyword arguments would cost a third more.
    return Record(
        message.topic() or "",
        _known(message.partition()),
        _known(message.offset()),
        timestamp,
        "LogAppendTime" if kind == TIMESTAMP_LOG_APPEND_TIME else "CreateTime",
        message.key(),
        message.value(),
        message,
    )


def _as_bytes(pairs: _ClientHeaders) -> Headers:
    if not pairs:
        return ()
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    for _, value in pairs:
        if value.__class__ is str:  # half the time of a set of the types
            return tuple((name, one.encode() if isinstance(one, str) else one) for name, one in pairs)
    return tuple(pairs)  # type: ignore[arg-type]  # the values are no texts


def _known(number: int | None) -> int:
    if number is None:
        message = "a consumed message has no partition or offset"
        raise ValueError(message)
    return number
