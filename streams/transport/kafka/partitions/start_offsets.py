"""Finds where reading starts: at the group's committed offset, or else at the first offset of the log.

An unknown committed offset is not the same as none: reading would repeat the whole log. So a partition whose committed
offset cannot be read waits, and only this partition waits.
"""

import logging
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from streams.transport.kafka.client import reason
from streams.transport.kafka.group import Group
from streams.transport.kafka.partitions.faults import TopicFaults

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 3.0
"""The time limit of one request. The poll thread waits for it, so two of them are well below STALLED_SECONDS."""
RETRY_SECONDS = 5.0
"""How long partitions wait until their committed offsets are requested again."""


class Start(NamedTuple):
    """Where the reading of a partition starts."""

    topic: str
    partition: int
    committed: int | None
    """The group's committed offset. None: it has none."""
    first: int | None
    """The first offset of the log, if the group has no committed offset. None: unknown, librdkafka looks it up."""

    @property
    def assigned(self) -> TopicPartition:
        """What librdkafka is asked to read."""
        offset = self.first if self.committed is None else self.committed
        return TopicPartition(self.topic, self.partition, OFFSET_BEGINNING if offset is None else offset)


class StartOffsets:
    """The partitions that the group has assigned to this worker, and whose start is not known yet."""

    def __init__(self, group: Group, faults: TopicFaults) -> None:
        self._group = group
        self._faults = faults
        self._waiting: dict[tuple[str, int], TopicPartition] = {}
        self._retry_at = 0.0

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Add newly assigned partitions."""
        self._waiting |= {(one.topic, one.partition): TopicPartition(one.topic, one.partition) for one in partitions}

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Remove partitions that were revoked or lost."""
        for one in partitions:
            self._waiting.pop((one.topic, one.partition), None)

    def are_due(self, now: float) -> bool:
        """Return True if partitions wait and may be looked up again."""
        return bool(self._waiting) and now >= self._retry_at

    def look_up(self, consumer: Consumer, now: float) -> list[Start]:
        """Return the starts that are known now. The other partitions wait for the next call.

        Blocks for at most two times REQUEST_SECONDS, whatever the number of partitions.
        """
        self._retry_at = now + RETRY_SECONDS
        if not self._waiting:
            return []
        try:
            answers = consumer.committed(list(self._waiting.values()), timeout=REQUEST_SECONDS)
        except KafkaException as error:
            logger.warning(
                "committed offsets are unknown; the partitions wait, and the offsets are requested again",
                extra={"group": self._group.group_id, "partitions": len(self._waiting), "error": reason(error)},
            )
            return []
        known: list[TopicPartition] = []
        for answer in answers:
            if answer.error is None:
                known.append(answer)
                self._faults.end(*_key(answer))
            else:
                self._faults.begin(answer.topic, answer.partition, f"its committed offset is unknown: {answer.error}")
        self.remove(known)
        none = [one for one in known if one.offset < 0]
        first = self._first(consumer, none) if none else {}
        return [
            Start(one.topic, one.partition, one.offset if one.offset >= 0 else None, first.get(_key(one)))
            for one in known
        ]

    def _first(self, consumer: Consumer, partitions: list[TopicPartition]) -> dict[tuple[str, int], int]:
        """Return the first offsets of logs, all in one request. Partitions without an answer are left out."""
        wanted = [TopicPartition(one.topic, one.partition, OFFSET_BEGINNING) for one in partitions]
        try:
            answers = consumer.offsets_for_times(wanted, timeout=REQUEST_SECONDS)
        except KafkaException as error:
            logger.warning(
                "the first offsets of partitions are unknown; librdkafka looks them up",
                extra={"group": self._group.group_id, "partitions": len(wanted), "error": reason(error)},
            )
            return {}
        return {_key(one): one.offset for one in answers if one.error is None and one.offset >= 0}


def _key(partition: TopicPartition) -> tuple[str, int]:
    return partition.topic, partition.partition
