"""The poll thread: it owns one group's librdkafka consumer and never waits for a handler, but briefly at a revocation.

Records and assignments are worked with on the event loop; the thread hands them over with one call a round.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.settings import Settings
from streams.transport.kafka.client import client_logger, consumer_config, is_fatal, reason
from streams.transport.kafka.errors import TransportError
from streams.transport.kafka.group import AssignmentListener, Group, GroupActivity, LagSample
from streams.transport.kafka.partition import PartitionState
from streams.transport.kafka.rebalance import Rebalance
from streams.transport.kafka.records import Assignment, Chunk, Record
from streams.transport.kafka.thread_bridge import ThreadBridge
from streams.transport.kafka.wire import to_record

logger = logging.getLogger(__name__)

CHUNK_RECORDS = 500
ROUND_RECORDS = 2_000
POLL_SECONDS = 0.05
COMMIT_SECONDS = 1.0
CATCH_UP_SECONDS = 0.1
"""How long a full partition may hold the thread before it is paused, for a pause throws fetched records away."""
CATCH_UP_STEP_SECONDS = 0.002
END_QUERY_SECONDS = 2.0
"""How often the end of a paused partition is asked for: librdkafka learns it from fetches only.

Not for one that has just been paused: the thread waits for the answer, and most pauses are short.
"""
END_QUERY_BOUND_SECONDS = 0.5
STALLED_SECONDS = 30.0
"""Without a poll for so long the thread counts as stuck; longer than any bounded wait in a rebalance."""

_REFUSED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}

Batch = list[tuple[PartitionState, list[Record]]]


class PollLoop:
    """One group's consumer in its thread. Make, start and close it on the event loop.

    `hand_over` gets each chunk on the loop; `died` gets the error there if the thread or a hand-over fails.
    """

    def __init__(
        self,
        group: Group,
        settings: Settings,
        listener: AssignmentListener,
        *,
        hand_over: Callable[[Chunk], None],
        died: Callable[[BaseException], None],
    ) -> None:
        self.group = group
        self._settings = settings
        self._hand_over = hand_over
        self._died = died
        self._bridge = ThreadBridge(asyncio.get_running_loop(), died)
        self._membership = Rebalance(group, settings, listener, self._bridge)
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"kafka-{group.group_id}", daemon=True)
        self._stopping = threading.Event()
        self._draining = False
        self._fatal: KafkaError | None = None
        self._polled_at = time.monotonic()
        self._commit_at = 0.0
        self._ends_at = 0.0

    def start(self) -> None:
        """Begin to consume."""
        self._thread.start()

    def drain(self) -> None:
        """Hand nothing over any more; membership and commits go on."""
        self._draining = True

    async def close(self, bound: float) -> bool:
        """Commit what is settled and leave the group; False where that took longer than `bound` seconds."""
        self._stopping.set()
        try:
            await asyncio.wait_for(self._ended.wait(), bound)
        except TimeoutError:
            logger.warning(
                "Kafka did not let the consumer go in time; its last commits may be missing, nothing is lost",
                extra={"group": self.group.group_id, "seconds": bound},
            )
            return False
        return True

    def assignments(self) -> tuple[Assignment, ...]:
        """The partitions held now."""
        return tuple(owned.assignment for owned in self._membership.owned())

    def lag(self) -> list[LagSample]:
        """How far behind each held partition is; those whose ends are not known yet are missing."""
        return [sample for owned in self._membership.owned() if (sample := owned.lag()) is not None]

    def joined(self) -> bool:
        """True once the group gave this member its share, be it nothing."""
        return self._membership.joined

    def stalled(self) -> bool:
        """True when the thread is dead or has not polled for STALLED_SECONDS."""
        return not self._thread.is_alive() or time.monotonic() - self._polled_at > STALLED_SECONDS

    def activity(self) -> GroupActivity:
        """Counters for metrics."""
        owned = self._membership.owned()
        return GroupActivity(
            group_id=self.group.group_id,
            owned=len(owned),
            paused=sum(one.paused for one in owned),
            rebalances=self._membership.rebalances,
            lost=self._membership.lost,
            late=self._membership.late,
            commit_failures=self._membership.commits.failures,
        )

    # On the event loop

    def _feed(self, batch: Batch) -> None:
        for owned, records in batch:
            assignment = owned.assignment
            if assignment.revoking or assignment.revoked or self._draining:
                continue
            assignment.deliver(records)
            for first in range(0, len(records), CHUNK_RECORDS):
                self._hand_over(Chunk(assignment, records[first : first + CHUNK_RECORDS]))

    def _end(self, error: BaseException | None) -> None:
        self._ended.set()
        if error is not None:
            self._died(error)

    # In the thread

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._consume()
        except BaseException as raised:  # noqa: BLE001 - whatever ends the thread must end the process
            error = raised
        self._bridge.post(self._end, error)

    def _consume(self) -> None:
        membership = self._membership
        callbacks = {
            "on_commit": membership.commits.answered,
            "stats_cb": membership.look,
            "error_cb": self._on_error,
        }
        consumer = Consumer({**consumer_config(self._settings, self.group), **callbacks}, logger=client_logger)
        try:
            consumer.subscribe(
                list(self.group.topics),
                on_assign=membership.assign,
                on_revoke=membership.revoke,
                on_lost=membership.lose,
            )
            while not self._stopping.is_set():
                self._round(consumer)
            membership.fence_all()
            membership.commits.finish(consumer, membership.owned(), POLL_SECONDS)
        finally:
            membership.fence_all()
            membership.closing = True
            consumer.close()

    def _round(self, consumer: Consumer) -> None:
        """Poll once, hand over what came, and see to pauses, commits and lag."""
        first = consumer.poll(POLL_SECONDS)
        self._polled_at = time.monotonic()
        messages = [] if first is None else [first, *consumer.consume(ROUND_RECORDS, 0)]
        if self._fatal is not None:
            raise TransportError(self._line(self._fatal))
        if batch := self._sort(messages):
            self._bridge.post(self._feed, batch)
        self._balance(consumer)
        now = time.monotonic()
        if now >= self._commit_at:
            self._commit_at = now + COMMIT_SECONDS
            self._membership.commits.send(consumer, self._membership.owned())
            self._look_at_ends(consumer, now)

    def _sort(self, messages: Iterable[Message]) -> Batch:
        """The records by partition. Those of a partition that went while they were fetched are dropped."""
        batch: dict[PartitionState, list[Record]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_message_error(error)
                continue
            record = to_record(message)
            owned = self._membership.find(record.topic, record.partition)
            if owned is not None:
                batch.setdefault(owned, []).append(record)
        for owned, records in batch.items():
            owned.fed += len(records)
        return list(batch.items())

    def _balance(self, consumer: Consumer) -> None:
        """Pause what is full, resume what has room. Polling goes on in either case."""
        owned = self._membership.owned()
        if self._draining:
            full = [one for one in owned if not one.paused]
        else:
            full = self._still_full([one for one in owned if one.is_full()])
            if ready := [one for one in owned if one.has_room()]:
                consumer.resume([TopicPartition(*one.key) for one in ready])
                for one in ready:
                    one.paused = False
        if full:
            consumer.pause([TopicPartition(*one.key) for one in full])
            for one in full:
                one.pause(time.monotonic())

    def _still_full(self, full: list[PartitionState]) -> list[PartitionState]:
        """Those that are full after a moment for the loop to catch up; the slow ones are not waited for."""
        begun = time.monotonic()
        if full and not any(one.was_slow(begun) for one in full):
            while any(one.is_full() for one in full) and time.monotonic() < begun + CATCH_UP_SECONDS:
                self._stopping.wait(CATCH_UP_STEP_SECONDS)
        return [one for one in full if one.is_full()]

    def _look_at_ends(self, consumer: Consumer, now: float) -> None:
        ask = now >= self._ends_at
        if ask:
            self._ends_at = now + END_QUERY_SECONDS
        for owned in self._membership.owned():
            partition = TopicPartition(*owned.key)
            if not owned.paused:
                _, high = consumer.get_watermark_offsets(partition, cached=True)
                owned.end = high if high >= 0 else owned.end
            elif ask and owned.has_rested(now, END_QUERY_SECONDS):
                try:
                    _, owned.end = consumer.get_watermark_offsets(partition, timeout=END_QUERY_BOUND_SECONDS)
                except KafkaException as error:
                    ask = False
                    logger.debug("the end of a paused partition is unknown: %s", reason(error))

    def _on_error(self, error: KafkaError) -> None:
        if is_fatal(error):
            self._fatal = error
        else:
            logger.warning("Kafka: %s", error.str(), extra={"group": self.group.group_id, "error": error.name()})

    def _on_message_error(self, error: KafkaError) -> None:
        if is_fatal(error) or error.code() in _REFUSED:
            raise TransportError(self._line(error))
        logger.warning("Kafka: %s", error.str(), extra={"group": self.group.group_id, "error": error.name()})

    def _line(self, error: KafkaError) -> str:
        return f"the consumer of group {self.group.group_id} cannot go on: {error.str()} ({error.name()})"
