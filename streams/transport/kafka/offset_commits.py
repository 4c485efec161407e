"""Commits the offsets of one group from its poll thread."""

import logging
import time
from collections.abc import Callable, Collection, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.transport.kafka.client import reason
from streams.transport.kafka.group import Group
from streams.transport.kafka.partition import PartitionState

logger = logging.getLogger(__name__)

COMMIT_ANSWER_TIMEOUT_SECONDS = 30.0
"""A commit without an answer for this long is sent again."""
FINAL_COMMIT_TIMEOUT_SECONDS = 3.0


class OffsetCommits:
    """Commits every offset that differs from the one the broker last confirmed. So a failed commit is repeated.

    Only one commit is in progress at a time: a late one can never move an offset back.
    """

    def __init__(self, group: Group, find: Callable[[str, int], PartitionState | None]) -> None:
        """Keep `find`, which returns a partition if this worker still owns it."""
        self._group = group
        self._find = find
        self._sent_at: float | None = None
        self.failures = 0
        """How many commits failed so far."""

    def send(self, consumer: Consumer, states: Iterable[PartitionState]) -> None:
        """Commit without waiting. A later poll calls `on_commit` with the answer."""
        now = time.monotonic()
        if self._sent_at is not None and now - self._sent_at < COMMIT_ANSWER_TIMEOUT_SECONDS:
            return
        if offsets := _offsets(states):
            self._sent_at = now
            consumer.commit(offsets=offsets, asynchronous=True)

    def on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Record the broker's answer to a commit: librdkafka's `on_commit` callback."""
        self._sent_at = None
        failures = []
        for partition in partitions:
            failure = error or partition.error
            if failure is not None:
                failures.append(failure)
            elif (state := self._find(partition.topic, partition.partition)) is not None:
                state.committed = partition.offset
        if failures:
            self.failures += 1
            logger.warning(
                "offset commit failed; it is repeated",
                extra={"group": self._group.group_id, "error": str(failures[0])},
            )

    def send_and_wait(self, consumer: Consumer, states: Iterable[PartitionState]) -> None:
        """Commit revoked partitions before they are given back. If this fails, work is repeated but nothing is lost."""
        if not (offsets := _offsets(states)):
            return
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self.failures += 1
            logger.warning(
                "the last commit of revoked partitions failed; their new owner repeats some settled records",
                extra={"group": self._group.group_id, "error": reason(error)},
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
