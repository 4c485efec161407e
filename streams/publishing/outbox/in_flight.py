"""The rows that the relay has sent and that Kafka has not answered yet, in one part per topic."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from streams.observability.metrics import outbox_failed
from streams.publishing.outbox.outbox import headers_from_text
from streams.publishing.outbox.statements import ACKNOWLEDGED, HEARTBEAT, NOTE_IN_FLIGHT, SET_ASIDE
from streams.publishing.outbox.topic_limits import REST_SECONDS, TopicLimits
from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.records import NewRecord

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.3
"""How often an active relay that waits for Kafka executes a statement, to keep its lock."""

T = TypeVar("T")
Rows = Sequence[Row[tuple[object, ...]]]


class Records(Protocol):
    """The producer interface that the relay needs. `streams.transport.kafka.producer.RecordProducer` has it."""

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Sequence[ProduceError | None]]":
        """Queue records in their order. Returns the future of their outcomes. None: acknowledged."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one topic that were sent together."""

    topic: str
    rows: Sequence[Row[tuple[object, ...]]]
    batch: int
    """The number of the batch that they are a part of."""
    limited: bool
    """Whether the topic had a limit, so that no other row of it was in flight."""
    sent_at: float
    unreadable: dict[int, ProduceError]
    """The rows that were not sent because their headers cannot be decoded, by id."""
    outcomes: "asyncio.Future[Sequence[ProduceError | None]]"
    """The outcomes of all other rows."""


class InFlight:
    """The parts in flight. A slow topic's part may stay here over several transactions of the relay."""

    def __init__(self, records: Records) -> None:
        """Create it without rows. `records` is the producer."""
        self._records = records
        self._limits = TopicLimits()
        self._parts: list[_Part] = []
        self._batches = 0
        self._noted: list[object] = []
        """The ids in the relay's row: the rows in flight at the end of the last transaction of any relay."""

    def __len__(self) -> int:
        return sum(len(part.rows) for part in self._parts)

    @property
    def ids(self) -> list[object]:
        """The ids of the rows."""
        return [row.id for part in self._parts for row in part.rows]

    def clear(self) -> None:
        """Forget the rows: a relay sends them again."""
        self._parts.clear()

    def resume(self, noted: Sequence[object]) -> None:
        """Begin a transaction with the ids in the relay's row. Rows in flight are forgotten if it has other ids.

        Then another relay was active, or the end of this one's last transaction failed: the rows are sent again.
        """
        self._noted = list(noted)
        if self.ids != self._noted:
            self.clear()

    async def note(self, connection: AsyncConnection) -> None:
        """Write the ids of the rows in flight into the relay's row if they changed: nobody may withdraw these rows.

        It is the last statement of a transaction, whose end releases the lock while the rows wait in the client.
        """
        if (ids := self.ids) != self._noted:
            await connection.execute(NOTE_IN_FLIGHT, {"ids": ids})

    def skipped_topics(self, slow: float) -> list[str]:
        """Return the topics that get no rows now: they rest, are slow, or have a limited part in flight.

        Args:
            slow: Seconds after which a topic that has not answered is slow.
        """
        now = time.monotonic()
        busy = (part.topic for part in self._parts if part.limited or now - part.sent_at >= slow)
        return list({*busy, *self._limits.resting(now)})

    def awaited_batches(self, slow: float) -> int:
        """Return the number of batches with a part that `wait` waits for; `slow` as in `skipped_topics`."""
        return len({part.batch for part in self._awaited(slow)})

    def _awaited(self, slow: float) -> "list[_Part]":
        if slow == math.inf:
            return self._parts
        now = time.monotonic()
        return [part for part in self._parts if not part.limited and now - part.sent_at < slow]

    async def wait(self, connection: AsyncConnection, slow: float) -> None:
        """Wait until a part is answered or slow, at most HEARTBEAT_SECONDS. The database keeps the lock meanwhile."""
        parts = self._awaited(slow)
        if not parts:
            return
        seconds = min(part.sent_at for part in parts) + slow - time.monotonic()
        done, _ = await asyncio.wait(
            {part.outcomes for part in parts},
            timeout=max(0.0, min(HEARTBEAT_SECONDS, seconds)),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not done:
            await connection.execute(HEARTBEAT)

    async def send(self, connection: AsyncConnection, rows: Rows) -> None:
        """Send rows in one part per topic, so that each topic's part is settled when it is answered."""
        self._batches += 1
        for topic, part in self._limits.parts(rows).items():
            limited = self._limits.is_limited(topic)
            unreadable: dict[int, ProduceError] = {}
            sending = self._records.send_all(_records(part, unreadable))
            outcomes = await _await_with_heartbeat(connection, sending)
            self._parts.append(_Part(topic, part, self._batches, limited, time.monotonic(), unreadable, outcomes))

    async def settle_answered(self, connection: AsyncConnection) -> int:
        """Settle the parts that Kafka has answered. Returns how many rows it acknowledged."""
        answered = [part for part in self._parts if part.outcomes.done()]
        if not answered:
            return 0
        self._parts = [part for part in self._parts if not part.outcomes.done()]
        acknowledged: list[object] = []
        for part in answered:
            acknowledged += await self._settle(connection, part)
        if acknowledged:
            await connection.execute(ACKNOWLEDGED, {"ids": acknowledged})
        return len(acknowledged)

    async def _settle(self, connection: AsyncConnection, part: _Part) -> list[object]:
        """Set refused rows aside, and limit the topic if others must be sent again. Returns the acknowledged ids."""
        acknowledged: list[object] = []
        is_alone = part.limited and len(part.rows) == 1
        unavailable: ProduceError | None = None
        again = False
        sent = iter(part.outcomes.result())
        for row in part.rows:
            error = part.unreadable.get(row.id) or next(sent)
            if error is None:
                acknowledged.append(row.id)
            elif error.retriable:
                unavailable = error
            elif error.may_be_neighbour and not is_alone:
                again = True
            else:
                await self._set_aside(connection, row, error)
        if unavailable is not None:
            self._rest(part.topic, unavailable)
        elif again:
            self._limits.refused(part.topic, len(part.rows))
        else:
            self._limits.accepted(part.topic)
        return acknowledged

    def _rest(self, topic: str, error: ProduceError) -> None:
        if self._limits.unavailable(topic, time.monotonic()):
            logger.warning(
                "Kafka does not accept records of a topic; they stay in the outbox",
                extra={"topic": topic, "error": str(error), "retry_in_seconds": REST_SECONDS},
            )

    async def _set_aside(self, connection: AsyncConnection, row: Row[tuple[object, ...]], error: ProduceError) -> None:
        logger.error(
            "Kafka rejected an event; its outbox row is set aside and will not be sent",
            extra={"outbox_id": row.id, "event_id": str(row.event_id), "topic": row.topic, "error": str(error)},
        )
        await connection.execute(SET_ASIDE, {"id": row.id, "error": str(error)})
        outbox_failed.inc()


def _records(rows: Rows, unreadable: dict[int, ProduceError]) -> Iterator[NewRecord]:
    """Yield records one by one. Thousands of headers at once would keep the garbage collector busy."""
    for row in rows:
        try:
            record = NewRecord(row.topic, row.key, row.value, headers_from_text(row.headers))
        except ValueError as error:  # undecodable headers are as permanent as a rejection by Kafka
            unreadable[row.id] = ProduceError(str(error), retriable=False)
        else:
            yield record


async def _await_with_heartbeat(connection: AsyncConnection, work: Awaitable[T]) -> T:
    """Wait for Kafka, and execute statements meanwhile so that the database keeps the lock."""
    waited = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({waited}, timeout=HEARTBEAT_SECONDS))[0]:
            await connection.execute(HEARTBEAT)
    except BaseException:
        waited.cancel()
        raise
    return waited.result()
