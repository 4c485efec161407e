"""The poll thread: it owns one group's librdkafka consumer and never waits for a handler, but briefly at a revocation.

Everything that touches records or assignments runs on the event loop; the thread hands it over with one call a round.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.settings import Settings
from streams.transport.client import client_logger, consumer_config, reason
from streams.transport.errors import TransportError
from streams.transport.group import AssignmentListener, Group, GroupActivity, LagSample
from streams.transport.owned import OwnedPartition
from streams.transport.record import Assignment, Chunk, Record
from streams.transport.wire import to_record

logger = logging.getLogger(__name__)

CHUNK_RECORDS = 500
ROUND_RECORDS = 2_000
POLL_SECONDS = 0.05
COMMIT_SECONDS = 1.0
COMMIT_LOST_SECONDS = 30.0
"""A commit without an answer for so long is sent again."""
CATCH_UP_SECONDS = 0.1
"""How long a full partition may hold the thread before it is paused, for a pause throws fetched records away."""
END_QUERY_SECONDS = 5.0
"""How often the end of a paused partition is asked for: librdkafka learns it from fetches only."""
LAST_COMMIT_SECONDS = 3.0
STALLED_SECONDS = 30.0
"""Without a poll for so long the thread counts as stuck; longer than any bounded wait in a rebalance."""

_REFUSED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}

Batch = list[tuple[OwnedPartition, list[Record]]]


class Engine:
    """One group's consumer in its thread. Make, start and close it on the event loop.

    `hand_over` gets each chunk on the loop; `died` gets the error there, once, if the thread ends on its own.
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
        self._listener = listener
        self._hand_over = hand_over
        self._died = died
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"kafka-{group.group_id}", daemon=True)
        self._owned: dict[tuple[str, int], OwnedPartition] = {}
        self._stopping = threading.Event()
        self._draining = False
        self._closing = False
        self._fatal: KafkaError | None = None
        self._joined = False
        self._polled_at = time.monotonic()
        self._commit_at = 0.0
        self._commit_sent: float | None = None
        self._ends_at = 0.0
        self._rebalances = self._lost = self._late = self._commit_failures = 0

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
        return tuple(owned.assignment for owned in self._snapshot())

    def lag(self) -> list[LagSample]:
        """How far behind each held partition is; those whose ends are not known yet are missing."""
        return [sample for owned in self._snapshot() if (sample := owned.lag()) is not None]

    def joined(self) -> bool:
        """True once the group gave this member its share, be it nothing."""
        return self._joined

    def stalled(self) -> bool:
        """True when the thread is dead or has not polled for STALLED_SECONDS."""
        return not self._thread.is_alive() or time.monotonic() - self._polled_at > STALLED_SECONDS

    def activity(self) -> GroupActivity:
        """Counters for metrics."""
        owned = self._snapshot()
        return GroupActivity(
            group_id=self.group.group_id,
            owned=len(owned),
            paused=sum(one.paused for one in owned),
            rebalances=self._rebalances,
            lost=self._lost,
            late=self._late,
            commit_failures=self._commit_failures,
        )

    def _snapshot(self) -> list[OwnedPartition]:
        return list(self._owned.values())

    # On the event loop

    def _feed(self, batch: Batch) -> None:
        for owned, records in batch:
            assignment = owned.assignment
            if assignment.revoking or assignment.revoked or self._draining:
                continue
            assignment.deliver(records)
            for first in range(0, len(records), CHUNK_RECORDS):
                self._hand_over(Chunk(assignment, records[first : first + CHUNK_RECORDS]))

    async def _finish(self, assignments: list[Assignment]) -> None:
        for assignment in assignments:
            assignment.revoking = True
        try:
            await asyncio.wait_for(self._listener.revoking(assignments), self._settings.revoke_drain_timeout)
        except TimeoutError:
            logger.info("revoked partitions still had work under way", extra={"group": self.group.group_id})
        finally:
            for assignment in assignments:
                assignment.revoked = True

    def _count_late(self) -> None:
        self._late += 1

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
        self._post(self._end, error)

    def _consume(self) -> None:
        consumer = Consumer(
            {
                **consumer_config(self._settings, self.group),
                "on_commit": self._on_commit,
                "error_cb": self._on_error,
            },
            logger=client_logger,
        )
        try:
            consumer.subscribe(
                list(self.group.topics), on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
            )
            while not self._stopping.is_set():
                self._round(consumer)
            self._closing = True
            self._commit_last(consumer)
        finally:
            self._closing = True
            consumer.close()

    def _round(self, consumer: Consumer) -> None:
        """Poll once, hand over what came, and see to pauses, commits and lag."""
        first = consumer.poll(POLL_SECONDS)
        self._polled_at = time.monotonic()
        messages = [] if first is None else [first, *consumer.consume(ROUND_RECORDS, 0)]
        if self._fatal is not None:
            raise TransportError(_fatal_line(self.group, self._fatal))
        if batch := self._sort(messages):
            self._post(self._feed, batch)
        self._balance(consumer)
        now = time.monotonic()
        if now >= self._commit_at:
            self._commit_at = now + COMMIT_SECONDS
            self._commit(consumer, now)
            self._look_at_ends(consumer, now)

    def _sort(self, messages: Iterable[Message]) -> Batch:
        """The records by partition. Those of a partition that went while they were fetched are dropped."""
        sorted_records: dict[OwnedPartition, list[Record]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_message_error(error)
                continue
            record = to_record(message)
            owned = self._owned.get((record.topic, record.partition))
            if owned is not None and not self._draining:
                sorted_records.setdefault(owned, []).append(record)
        for owned, records in sorted_records.items():
            owned.fed += len(records)
        return list(sorted_records.items())

    def _balance(self, consumer: Consumer) -> None:
        """Pause what is full, resume what has room. Polling goes on in either case."""
        owned = self._snapshot()
        if self._draining:
            resting = [one for one in owned if not one.paused]
        else:
            resting = [one for one in owned if one.is_full()]
            now = time.monotonic()
            if resting and not any(one.was_slow(now) for one in resting):
                while any(one.is_full() for one in resting) and time.monotonic() < now + CATCH_UP_SECONDS:
                    self._stopping.wait(0.002)
                resting = [one for one in resting if one.is_full()]
            ready = [one for one in owned if one.has_room()]
            if ready:
                consumer.resume([TopicPartition(*one.key) for one in ready])
                for one in ready:
                    one.paused = False
        if resting:
            consumer.pause([TopicPartition(*one.key) for one in resting])
            for one in resting:
                one.pause(time.monotonic())

    # Commits

    def _commit(self, consumer: Consumer, now: float) -> None:
        """Send what has moved, without waiting. One commit at a time, so that a late one never moves an offset back."""
        if self._commit_sent is not None and now - self._commit_sent < COMMIT_LOST_SECONDS:
            return
        if offsets := _offsets(self._snapshot()):
            self._commit_sent = now
            consumer.commit(offsets=offsets, asynchronous=True)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        self._commit_sent = None
        failures = []
        for partition in partitions:
            failure = error or partition.error
            if failure is not None:
                failures.append(failure)
            elif (owned := self._owned.get((partition.topic, partition.partition))) is not None:
                owned.committed = partition.offset
        if failures:
            self._commit_failures += 1
            logger.warning(
                "Kafka refused a commit; it is tried again",
                extra={"group": self.group.group_id, "error": str(failures[0])},
            )

    def _commit_now(self, consumer: Consumer, owned: list[OwnedPartition]) -> None:
        """Commit and wait; a refusal costs duplicates, never a record."""
        if not (offsets := _offsets(owned)):
            return
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self._commit_failures += 1
            logger.warning(
                "the last commit of revoked partitions failed; their new owner repeats what was settled since",
                extra={"group": self.group.group_id, "error": reason(error)},
            )

    def _commit_last(self, consumer: Consumer) -> None:
        """Fence everything and commit it, waiting at most LAST_COMMIT_SECONDS for the broker's answer."""
        deadline = time.monotonic() + LAST_COMMIT_SECONDS
        for owned in self._snapshot():
            owned.assignment.revoked = True
        while time.monotonic() < deadline:
            self._commit(consumer, time.monotonic())
            if self._commit_sent is None:
                return
            consumer.poll(POLL_SECONDS)

    def _look_at_ends(self, consumer: Consumer, now: float) -> None:
        ask = now >= self._ends_at
        if ask:
            self._ends_at = now + END_QUERY_SECONDS
        for owned in self._snapshot():
            partition = TopicPartition(*owned.key)
            if not owned.paused:
                _, high = consumer.get_watermark_offsets(partition, cached=True)
                owned.end = high if high >= 0 else owned.end
            elif ask:
                try:
                    _, owned.end = consumer.get_watermark_offsets(partition, timeout=0.5)
                except KafkaException as error:
                    ask = False
                    logger.debug("the end of a paused partition is unknown: %s", reason(error))

    # Rebalances; librdkafka calls these from poll and waits for them

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        came = [self._own(consumer, place) for place in self._committed(consumer, partitions)]
        self._rebalances += bool(partitions)
        consumer.incremental_assign([place for _, place in came])
        self._owned.update((owned.key, owned) for owned, _ in came)
        self._joined = True
        if came:
            self._post(self._listener.assigned, [owned.assignment for owned, _ in came])
            self._log("partitions assigned", partitions)

    def _committed(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        if not partitions:
            return []
        try:
            return consumer.committed(partitions, timeout=self._settings.kafka_request_timeout)
        except KafkaException as error:
            logger.warning(
                "committed offsets are unknown for now; librdkafka asks again",
                extra={"group": self.group.group_id, "error": reason(error)},
            )
            return partitions

    def _own(self, consumer: Consumer, place: TopicPartition) -> tuple[OwnedPartition, TopicPartition]:
        assignment = Assignment(place.topic, place.partition, self.group.group_id, self._count_late)
        owned = OwnedPartition(assignment, self.group)
        if place.offset >= 0:
            owned.committed = place.offset
        elif place.offset == OFFSET_INVALID:
            try:
                owned.start, _ = consumer.get_watermark_offsets(place, timeout=self._settings.kafka_request_timeout)
            except KafkaException as error:
                logger.warning("the start of a partition is unknown for now: %s", reason(error))
            else:
                place = TopicPartition(place.topic, place.partition, owned.start)
        return owned, place

    def _revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        went = self._take_back(partitions)
        assignments = [owned.assignment for owned in went]
        if not self._closing:
            self._wait_for_loop(self._finish(assignments), self._settings.revoke_drain_timeout + 1.0)
            for assignment in assignments:
                assignment.revoked = True
            self._commit_now(consumer, went)
        consumer.incremental_unassign(partitions)
        self._tell_revoked(went)
        self._log("partitions revoked", partitions)

    def _lose(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        went = self._take_back(partitions)
        for owned in went:
            owned.assignment.revoked = True
        self._lost += len(went)
        consumer.incremental_unassign(partitions)
        self._tell_revoked(went)
        self._log("partitions lost: another worker does again what was under way", partitions, logging.WARNING)

    def _take_back(self, partitions: list[TopicPartition]) -> list[OwnedPartition]:
        self._rebalances += 1
        found = (self._owned.pop((place.topic, place.partition), None) for place in partitions)
        return [owned for owned in found if owned is not None]

    def _tell_revoked(self, went: list[OwnedPartition]) -> None:
        if went:
            self._post(self._listener.revoked, [owned.assignment for owned in went])

    # Errors, and the way to the loop

    def _on_error(self, error: KafkaError) -> None:
        if _is_fatal(error):
            self._fatal = error
        else:
            logger.warning("Kafka: %s", error.str(), extra={"group": self.group.group_id, "error": error.name()})

    def _on_message_error(self, error: KafkaError) -> None:
        if _is_fatal(error) or error.code() in _REFUSED:
            raise TransportError(_fatal_line(self.group, error))
        logger.warning("Kafka: %s", error.str(), extra={"group": self.group.group_id, "error": error.name()})

    def _log(self, text: str, partitions: list[TopicPartition], level: int = logging.INFO) -> None:
        names = sorted(f"{place.topic}[{place.partition}]" for place in partitions)
        logger.log(level, text, extra={"group": self.group.group_id, "partitions": names})

    def _post(self, call: Callable[..., None], *arguments: object) -> None:
        """Run on the loop, soon. A loop that is closed has no use for it any more.

        What raises there ends the worker: asyncio would only log it, and the records would wait for ever.
        """

        def run() -> None:
            try:
                call(*arguments)
            except Exception as error:
                logger.exception("the hand-over failed")
                self._died(error)

        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _wait_for_loop(self, work: Coroutine[Any, Any, None], bound: float) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.result(bound)
        except TimeoutError:
            future.cancel()
            logger.warning("the event loop is blocked: revoked partitions were let go without waiting for it")


def _offsets(owned: Iterable[OwnedPartition]) -> list[TopicPartition]:
    return [TopicPartition(*one.key, position) for one in owned if (position := one.to_commit()) is not None]


def _is_fatal(error: KafkaError) -> bool:
    # What poll and consume deliver says fatal() == False even when it is: the code is what counts.
    return error.code() == KafkaError._FATAL or error.fatal()  # noqa: SLF001 - the client's name for its own error


def _fatal_line(group: Group, error: KafkaError) -> str:
    return f"the consumer of group {group.group_id} cannot go on: {error.str()} ({error.name()})"
