"""Partitions and topics of a group that cannot be read now, and why. The others continue."""

import logging
from collections.abc import Iterable

from streams.transport.kafka.group import Group

logger = logging.getLogger(__name__)


class TopicFaults:
    """The faults of one group. The poll thread writes them, any thread may read.

    A fault of a whole topic has no partition. A fault of the whole group has the group's id as its topic.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._faults: dict[tuple[str, int | None], str] = {}

    def __bool__(self) -> bool:
        return bool(self._faults)

    def begin(self, topic: str, partition: int | None, why: str) -> None:
        """Record that a topic cannot be read. The first report is logged, its repetitions are not.

        Args:
            topic: The topic, or the group's id.
            partition: The partition. None: the whole topic.
            why: The reason in a few words.
        """
        is_new = (topic, partition) not in self._faults
        self._faults[topic, partition] = why
        if is_new:
            logger.error(
                "a topic cannot be read; it is tried again, the other topics continue",
                extra={"group": self._group.group_id, "topic": topic, "partition": partition, "error": why},
            )

    def end(self, topic: str, partition: int | None = None) -> None:
        """Record that a partition can be read again, and with it the topic."""
        if not self._faults:
            return
        ended = [key for key in ((topic, partition), (topic, None)) if self._faults.pop(key, None) is not None]
        if ended:
            logger.info(
                "a topic can be read again",
                extra={"group": self._group.group_id, "topic": topic, "partition": partition},
            )

    def forget(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Forget the faults of partitions that this worker no longer owns."""
        for key in partitions:
            self._faults.pop(key, None)

    def partitions(self) -> list[tuple[str, int]]:
        """Return the partitions with a fault of their own."""
        return [(topic, partition) for topic, partition in list(self._faults) if partition is not None]

    def topics(self) -> list[str]:
        """Return the topics with a fault as a whole."""
        return [topic for topic, partition in list(self._faults) if partition is None]

    def reasons(self) -> dict[str, str]:
        """Return why topics cannot be read, by topic."""
        return {topic: why for (topic, _), why in list(self._faults.items())}
