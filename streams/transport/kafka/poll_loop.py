"""The poll thread, which owns one group's librdkafka consumer.

It never waits for a handler, except for a limited time at a revocation. Records and assignments are processed on the
event loop: the thread posts them there with one call per round.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.settings import Settings
from streams.transport.kafka.client import client_logger, consumer_config, is_fatal
from streams.transport.kafka.errors import TransportError
from streams.transport.kafka.group import AssignmentListener, Group, GroupActivity, LagSample
from streams.transport.kafka.partition import PartitionState, oldest_unsettled
from streams.transport.kafka.partitions.positions import Positions
from streams.transport.kafka.partitions.subscription import Subscription
from streams.transport.kafka.rebalance import Rebalance
from streams.transport.kafka.records import Assignment, Chunk, Record, to_record
from streams.transport.kafka.thread_bridge import ThreadBridge

logger = logging.getLogger(__name__)

CHUNK_RECORDS = 500
ROUND_RECORDS = 2_000
POLL_SECONDS = 0.05
COMMIT_SECONDS = 1.0
CATCH_UP_SECONDS = 0.1
"""How long the thread waits for full partitions before it pauses them: a pause discards fetched records."""
CATCH_UP_STEP_SECONDS = 0.002
STALLED_SECONDS = 30.0
"""The thread counts as stalled after this long without a poll. No wait in a rebalance takes longer."""

_LOG_ENDS = {
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - the client's name for its own error
    KafkaError._LOG_TRUNCATION,  # noqa: SLF001 - as above
    KafkaError.OFFSET_OUT_OF_RANGE,
}
"""The log has no record at the position."""
_TOPIC_FAULTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
"""librdkafka tries these topics again by itself, and reports no end of the fault."""

Batch = list[tuple[PartitionState, list[Record]]]


class PollLoop:
    """One group's consumer and its thread. Create, start and close it on the event loop.

    `on_chunk` is called on the loop with each chunk. `on_failure` is called on the loop with the error when the
    thread or a call on the loop fails.
    """

    def __init__(
        self,
        group: Group,
        settings: Settings,
        listener: AssignmentListener,
        *,
        on_chunk: Callable[[Chunk], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Create the consumer's thread without starting it.

        Args:
            group: The consumer group and its topics.
            settings: The connection settings and time limits.
            listener: Gets the changes of the assignment, on the loop.
            on_chunk: Called with each chunk, on the loop.
            on_failure: Called with the error when the thread or a call on the loop fails, on the loop.
        """
        self.group = group
        self._settings = settings
        self._on_chunk = on_chunk
        self._on_failure = on_failure
        self._bridge = ThreadBridge(asyncio.get_running_loop(), on_failure)
        self._rebalance = rebalance = Rebalance(group, settings, listener, self._bridge)
        self._positions = Positions(group, settings, rebalance)
        callbacks = {"on_assign": rebalance.on_assign, "on_revoke": rebalance.on_revoke, "on_lost": rebalance.on_lost}
        self._subscription = Subscription(group, rebalance.faults, callbacks)
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"kafka-{group.group_id}", daemon=True)
        self._stopping = threading.Event()
        self._draining = False
        self._polled_at = time.monotonic()
        self._commit_at = 0.0
        self._rebalances = 0

    def start(self) -> None:
        """Start to consume."""
        self._thread.start()

    def drain(self) -> None:
        """Deliver no more chunks. The consumer stays in the group and continues to commit."""
        self._draining = True

    async def close(self, seconds: float) -> bool:
        """Commit the settled offsets and leave the group. Returns False if that took longer than `seconds`."""
        self._stopping.set()
        try:
            await asyncio.wait_for(self._ended.wait(), seconds)
        except TimeoutError:
            logger.warning(
                "the consumer did not close in time; its last commits may be missing, no record is lost",
                extra={"group": self.group.group_id, "seconds": seconds},
            )
            return False
        return True

    def assignments(self) -> tuple[Assignment, ...]:
        """Return the assignments of the partitions that this worker owns now."""
        return tuple(state.assignment for state in self._rebalance.owned())

    def lag(self) -> list[LagSample]:
        """Return the lag of each owned partition. A partition whose offsets are not known yet is left out."""
        return [sample for state in self._rebalance.owned() if (sample := state.lag()) is not None]

    def joined(self) -> bool:
        """Return True once the group has assigned this member its partitions, even if it got none."""
        return self._rebalance.joined

    def stalled(self) -> bool:
        """Return True if the thread has ended or has not polled for STALLED_SECONDS."""
        return not self._thread.is_alive() or time.monotonic() - self._polled_at > STALLED_SECONDS

    def activity(self) -> GroupActivity:
        """Return the counters for the metrics."""
        states = self._rebalance.owned()
        return GroupActivity(
            group_id=self.group.group_id,
            owned=len(states),
            paused=sum(one.paused for one in states),
            rebalances=self._rebalance.rebalances,
            lost=self._rebalance.lost,
            late=self._rebalance.late,
            commit_failures=self._rebalance.commits.failures,
            deleted_unread=dict(self._positions.deleted_unread),
            unreadable=self._rebalance.faults.reasons(),
            oldest_unsettled=oldest_unsettled(states),
        )

    # On the event loop

    def _deliver(self, batch: Batch, fetched_at: float) -> None:
        for state, records in batch:
            assignment = state.assignment
            if assignment.revoking or assignment.revoked or self._draining:
                continue
            assignment.deliver(records)
            for first in range(0, len(records), CHUNK_RECORDS):
                self._on_chunk(Chunk(assignment, records[first : first + CHUNK_RECORDS], fetched_at))

    def _on_thread_end(self, error: BaseException | None) -> None:
        self._ended.set()
        if error is not None:
            self._on_failure(error)

    # In the thread

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._consume()
        except KafkaException as raised:  # a fatal error too: the client raises it once, and has no callback for it
            error = TransportError(self._message(raised.args[0]))
            error.__cause__ = raised
        except BaseException as raised:  # noqa: BLE001 - any end of the thread must end the process
            error = raised
        self._bridge.post(self._on_thread_end, error)

    def _consume(self) -> None:
        rebalance = self._rebalance
        callbacks = {
            "on_commit": rebalance.commits.on_commit,
            "stats_cb": rebalance.on_statistics,
            "error_cb": self._on_error,
        }
        consumer = Consumer({**consumer_config(self._settings, self.group), **callbacks}, logger=client_logger)
        try:
            self._subscription.start(consumer)
            while not self._stopping.is_set():
                self._run_once(consumer)
            rebalance.fence_all()
            rebalance.commits.commit_all(consumer, rebalance.owned(), POLL_SECONDS)
        finally:
            rebalance.fence_all()
            rebalance.closing = True
            consumer.close()

    def _run_once(self, consumer: Consumer) -> None:
        """Poll once, post the records to the loop, then update pauses, commits and lag."""
        first = consumer.poll(POLL_SECONDS)
        self._polled_at = time.monotonic()
        messages = [] if first is None else [first, *consumer.consume(ROUND_RECORDS, 0)]
        fetched_at = time.perf_counter()
        if batch := self._group_by_partition(consumer, messages):
            self._bridge.post(self._deliver, batch, fetched_at)
        self._pause_and_resume(consumer)
        now = time.monotonic()
        if now >= self._commit_at or self._rebalances != self._rebalance.rebalances:
            self._commit_at = now + COMMIT_SECONDS
            self._rebalances = self._rebalance.rebalances
            self._rebalance.refresh(consumer, now)
            self._positions.refresh(consumer, now)
            if self._subscription.refresh(consumer, now):
                self._rebalance.probe()
            self._rebalance.commits.send(consumer, self._rebalance.owned())

    def _group_by_partition(self, consumer: Consumer, messages: Iterable[Message]) -> Batch:
        """Group the records by partition. Records of a partition that was revoked meanwhile are dropped."""
        batch: dict[PartitionState, list[Record]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_message_error(consumer, message, error)
                continue
            record = to_record(message)
            state = self._rebalance.find(record.topic, record.partition)
            if state is not None:
                batch.setdefault(state, []).append(record)
        found: Batch = []
        for state, records in batch.items():
            first = records[0].offset
            current = self._rebalance.begin_again(state, first) if first <= state.last else state
            current.post(records)
            self._rebalance.faults.end(*state.key)
            found.append((current, records))
        return found

    def _pause_and_resume(self, consumer: Consumer) -> None:
        """Pause full partitions and resume those with room. Polling continues in either case."""
        states = self._rebalance.owned()
        if self._draining:
            full = [one for one in states if not one.paused]
        else:
            full = self._still_full([one for one in states if one.is_full()])
            if ready := [one for one in states if one.has_room()]:
                consumer.resume([TopicPartition(*one.key) for one in ready])
                for one in ready:
                    one.paused = False
        if full:
            consumer.pause([TopicPartition(*one.key) for one in full])
            for one in full:
                one.pause(time.monotonic())

    def _still_full(self, full: list[PartitionState]) -> list[PartitionState]:
        """Return the partitions that are still full after a short wait. There is no wait if one of them is slow."""
        begun = time.monotonic()
        if full and not any(one.was_slow(begun) for one in full):
            while any(one.is_full() for one in full) and time.monotonic() < begun + CATCH_UP_SECONDS:
                self._stopping.wait(CATCH_UP_STEP_SECONDS)
        return [one for one in full if one.is_full()]

    def _on_error(self, error: KafkaError) -> None:
        client_logger.warning("Kafka: %s", error.str(), extra={"group": self.group.group_id, "error": error.name()})

    def _on_message_error(self, consumer: Consumer, message: Message, error: KafkaError) -> None:
        topic, partition, code = message.topic(), message.partition(), error.code()
        if is_fatal(error) or (code == KafkaError.GROUP_AUTHORIZATION_FAILED and not self._rebalance.joined):
            raise TransportError(self._message(error))
        if code in _LOG_ENDS and topic and partition is not None:
            self._positions.reset(topic, partition, message.offset() or 0)
        elif code in _TOPIC_FAULTS and topic:
            owned = partition is not None and self._rebalance.find(topic, partition) is not None
            self._rebalance.faults.begin(topic, partition if owned else None, error.str())
        elif code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            self._subscription.leave_out_hidden(consumer)
        elif code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            self._rebalance.faults.begin(self.group.group_id, None, error.str())
        else:
            self._on_error(error)

    def _message(self, error: KafkaError) -> str:
        return f"the consumer of group {self.group.group_id} failed: {error.str()} ({error.name()}){hint_of(error)}"


def hint_of(error: KafkaError) -> str:
    """Return what to do about an error whose text misleads, or nothing.

    A broker says "The group id does not exist" to a member that uses KIP-848 while members of the classic protocol run.
    """
    mixed = {KafkaError.GROUP_ID_NOT_FOUND, KafkaError.INCONSISTENT_GROUP_PROTOCOL}
    if error.code() in mixed or "group id does not exist" in error.str().lower():
        return "; to change STREAMS_GROUP_PROTOCOL, first stop all workers of the group"
    return ""
