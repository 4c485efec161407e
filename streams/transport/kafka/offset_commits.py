"""Commits the offsets of one group from its poll thread."""

import logging
import time
from collections.abc import Callable, Collection, Iterable

from confluent_kafka import Consumer, KafkaError, TopicPartition

from streams.transport.kafka.group import Group
from streams.transport.kafka.partition import PartitionState
from streams.transport.kafka.partitions.faults import TopicFaults

logger = logging.getLogger(__name__)

COMMIT_ANSWER_TIMEOUT_SECONDS = 30.0
"""A commit without an answer for this long is sent again."""
FINAL_COMMIT_TIMEOUT_SECONDS = 3.0
REPORT_SECONDS = 60.0
"""How often failed commits are logged. They are repeated each second."""


class OffsetCommits:
    """Commits every offset that differs from the one the broker last confirmed. So a failed commit is repeated.

    Only one commit is in progress at a time: a late one can never move an offset back.
    """

    def __init__(self, group: Group, find: Callable[[str, int], PartitionState | None], faults: TopicFaults) -> None:
        """Commit nothing yet.

        Args:
            group: The consumer group.
            find: Returns a partition if this worker still owns it.
            faults: Gets the topics whose commits are refused.
        """
        self._group = group
        self._find = find
        self._faults = faults
        self._report_at = 0.0
        self._sent_at: float | None = None
        self.failures = 0
        """How many commits failed so far."""

    def send(self, consumer: Consumer, states: Iterable[PartitionState]) -> None:
        """Commit without waiting. A later poll calls `on_commit` with the answer."""
        now = time.monotonic()
        if self._sent_at is not None and now - self._sent_at < COMMIT_ANSWER_TIMEOUT_SECONDS:
            return
        states = list(states)
        if offsets := _offsets(states):
            self._sent_at = now
            consumer.commit(offsets=offsets, asynchronous=True)
        for state in states:
            state.probe = False

    def on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Record the broker's answer to a commit: librdkafka's `on_commit` callback."""
        self._sent_at = None
        failures = []
        if any(partition.error is not None for partition in partitions):
            error = None  # it repeats the error of one partition
        for partition in partitions:
            failure = error or partition.error
            if failure is None:
                self._faults.end(partition.topic, partition.partition)
                if (state := self._find(partition.topic, partition.partition)) is not None:
                    state.committed = partition.offset
            elif failure.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                self._faults.begin(partition.topic, partition.partition, failure.str())
            else:
                failures.append(failure)
        if failures:
            self.failures += 1
            self._report(failures[0])

    def send_last(self, consumer: Consumer, states: Iterable[PartitionState]) -> None:
        """Commit revoked partitions before they are given back. If this fails, work is repeated but nothing is lost."""
        if offsets := _offsets(states):
            self._sent_at = time.monotonic()
            consumer.commit(offsets=offsets, asynchronous=True)

    def _report(self, failure: KafkaError) -> None:
        now = time.monotonic()
        if now >= self._report_at:
            self._report_at = now + REPORT_SECONDS
            logger.warning(
                "offset commits fail; they are repeated",
                extra={"group": self._group.group_id, "error": str(failure), "failures": self.failures},
            )

    def commit_all(self, consumer: Consumer, states: Collection[PartitionState], poll: float) -> None:
        """Commit everything before the consumer closes, and wait at most FINAL_COMMIT_TIMEOUT_SECONDS for the answer.

        It does not use a synchronous commit, which blocks for a minute when the broker is frozen.

        Args:
            consumer: The group's consumer.
            states: The partitions to commit.
            poll: Seconds of each poll while waiting.
        """
        deadline = time.monotonic() + FINAL_COMMIT_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            self.send(consumer, states)
            if self._sent_at is None:
                return
            consumer.poll(poll)


def _offsets(states: Iterable[PartitionState]) -> list[TopicPartition]:
    return [TopicPartition(*one.key, position) for one in states if (position := one.offset_to_commit()) is not None]
