"""Commits of the settled prefixes of one group, from its poll thread."""

import logging
import time
from collections.abc import Callable, Collection, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.transport.kafka.client import reason
from streams.transport.kafka.group import Group
from streams.transport.kafka.partition import PartitionState

logger = logging.getLogger(__name__)

ANSWER_LOST_SECONDS = 30.0
"""A commit without an answer for so long is sent again."""
LAST_COMMIT_SECONDS = 3.0


class OffsetCommits:
    """Sends what has moved since the broker's last confirmation, so a refused commit is repeated by itself.

    One commit is under way at a time: a late one can never move an offset back.
    """

    def __init__(self, group: Group, find: Callable[[str, int], PartitionState | None]) -> None:
        """`find` gives the partition held now, if it still is."""
        self._group = group
        self._find = find
        self._sent_at: float | None = None
        self.failures = 0
        """Commits refused so far."""

    def send(self, consumer: Consumer, owned: Iterable[PartitionState]) -> None:
        """Send without waiting; the answer comes to `answered` from a later poll."""
        now = time.monotonic()
        if self._sent_at is not None and now - self._sent_at < ANSWER_LOST_SECONDS:
            return
        if offsets := _offsets(owned):
            self._sent_at = now
            consumer.commit(offsets=offsets, asynchronous=True)

    def answered(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Librdkafka's `on_commit`."""
        self._sent_at = None
        failures = []
        for partition in partitions:
            failure = error or partition.error
            if failure is not None:
                failures.append(failure)
            elif (owned := self._find(partition.topic, partition.partition)) is not None:
                owned.committed = partition.offset
        if failures:
            self.failures += 1
            logger.warning(
                "Kafka refused a commit; it is tried again",
                extra={"group": self._group.group_id, "error": str(failures[0])},
            )

    def send_and_wait(self, consumer: Consumer, owned: Iterable[PartitionState]) -> None:
        """Commit revoked partitions before they go; a refusal costs repeated work, never a record."""
        if not (offsets := _offsets(owned)):
            return
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self.failures += 1
            logger.warning(
                "the last commit of revoked partitions failed; their new owner repeats what was settled since",
                extra={"group": self._group.group_id, "error": reason(error)},
            )

    def finish(self, consumer: Consumer, owned: Collection[PartitionState], poll: float) -> None:
        """Commit everything before the consumer closes, waiting at most LAST_COMMIT_SECONDS for the answer.

        Not by a synchronous commit: with a frozen broker that one waits for a minute.
        """
        deadline = time.monotonic() + LAST_COMMIT_SECONDS
        while time.monotonic() < deadline:
            self.send(consumer, owned)
            if self._sent_at is None:
                return
            consumer.poll(poll)


def _offsets(owned: Iterable[PartitionState]) -> list[TopicPartition]:
    return [TopicPartition(*one.key, position) for one in owned if (position := one.to_commit()) is not None]
