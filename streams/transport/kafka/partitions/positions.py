"""The positions of the owned partitions, checked in the poll thread once per second.

librdkafka reports a position at which the log has no record, and reads no further: `auto.offset.reset` is `error`. So
every jump is decided here, and none happens silently.
"""

import logging
from collections import Counter

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.settings import Settings
from streams.transport.kafka.client import reason
from streams.transport.kafka.group import Group
from streams.transport.kafka.partition import PartitionState
from streams.transport.kafka.partitions.resets import Reset, reset_of
from streams.transport.kafka.partitions.topic_ids import CHECK_SECONDS, TopicIds
from streams.transport.kafka.rebalance import Rebalance, unassign

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 0.5
"""The time limit of a request for the offsets of one partition. After a failure, the others wait for the next call."""
END_QUERY_SECONDS = 2.0
"""How often the end offset of a paused partition is requested: librdkafka learns it only from fetches.

A partition that has just been paused is left out: the request blocks the thread, and most pauses are short.
"""
BEGUN_AGAIN_SECONDS = 2 * CHECK_SECONDS
"""How long after a partition started over a changed id of its topic is taken for the reason. The id is known by then.

Without this, the work of these seconds would be repeated, and the crash-loop guard would count one start more. Without
the limit, a partition whose log only became shorter would skip the records of a topic that is created again much later.
"""
_NOWHERE = 2**63 - 1
"""A position after every record: reading starts over."""


class Positions:
    """The positions of one group's partitions. Only the poll thread calls it; any thread may read the counter."""

    def __init__(self, group: Group, settings: Settings, rebalance: Rebalance) -> None:
        self._group = group
        self._rebalance = rebalance
        self._ids = TopicIds(settings)
        self._resets: dict[PartitionState, int] = {}
        """Partitions that are not read now → the position at which the log had no record."""
        self._ends_at = 0.0
        self._begun_again: dict[tuple[str, int], float] = {}
        """Partitions that started over without a changed id → when, seconds of the monotonic clock."""
        self.deleted_unread: Counter[str] = Counter()
        """By topic: how many offsets retention deleted before they were read."""

    def reset(self, topic: str, partition: int, position: int) -> None:
        """Record that the log of a partition has no record at the position."""
        if (state := self._rebalance.find(topic, partition)) is not None:
            self._resets[state] = position

    def refresh(self, consumer: Consumer, now: float) -> None:
        """Continue partitions that are not read, let idle ones commit their position, and update the ends of the logs.

        Blocks for at most three times REQUEST_SECONDS if the brokers do not answer.

        Args:
            consumer: The group's consumer.
            now: Seconds of a monotonic clock.
        """
        self._find_new_topics(now)
        self._continue_all(consumer, now)
        self._update_idle(consumer)
        self._update_ends(consumer, now)

    def _find_new_topics(self, now: float) -> None:
        owned = self._rebalance.owned()
        marks = {state.key: self._begun_again.get(state.key) for state in owned}
        self._begun_again = {key: at for key, at in marks.items() if at is not None and now - at < BEGUN_AGAIN_SECONDS}
        for topic in self._ids.changed(now, {state.assignment.topic for state in owned}):
            states = [state for state in owned if state.assignment.topic == topic]
            self._resets |= {state: _NOWHERE for state in states if self._begun_again.pop(state.key, None) is None}

    def _continue_all(self, consumer: Consumer, now: float) -> None:
        for state, position in list(self._resets.items()):
            del self._resets[state]
            if self._rebalance.find(*state.key) is not state:
                continue
            try:
                first, end = consumer.get_watermark_offsets(TopicPartition(*state.key), timeout=REQUEST_SECONDS)
            except KafkaException as error:
                self._rebalance.faults.begin(*state.key, f"its offsets are unknown: {reason(error)}")
                self._resets[state] = position  # the last one now, so that the others come first next time
                return
            if self._continue(consumer, state, position, reset_of(position, first, end)) and position != _NOWHERE:
                self._begun_again[state.key] = now

    def _continue(self, consumer: Consumer, state: PartitionState, position: int, reset: Reset) -> bool:
        """Read on where the reset says. Returns whether the partition starts over, with a new assignment."""
        where = {"group": self._group.group_id, "topic": state.key[0], "partition": state.key[1]}
        if starts_over := reset.begins_again or reset.offset <= state.last:
            logger.error(
                "offsets of a partition start over: its topic was created again, or it lost records; reading starts "
                "at its first record",
                extra={**where, "first_offset": reset.offset},
            )
            state = self._rebalance.begin_again(state, reset.offset)
        elif reset.lost:
            logger.error(
                "records were deleted by retention before they were read",
                extra={**where, "records": reset.lost, "from_offset": position, "to_offset": reset.offset},
            )
            self.deleted_unread[state.key[0]] += reset.lost
            state.position = reset.offset
        unassign(consumer, [state])
        consumer.incremental_assign([TopicPartition(*state.key, reset.offset)])
        return starts_over

    def _update_idle(self, consumer: Consumer) -> None:
        """Note the positions of partitions with nothing unsettled: they are after control and aborted records too."""
        idle = [state for state in self._rebalance.owned() if not state.outstanding and state not in self._resets]
        if not idle:
            return
        for state, found in zip(idle, consumer.position([TopicPartition(*state.key) for state in idle]), strict=True):
            if found.error is None and found.offset >= 0:
                state.position = found.offset

    def _update_ends(self, consumer: Consumer, now: float) -> None:
        ask = now >= self._ends_at
        if ask:
            self._ends_at = now + END_QUERY_SECONDS
        for state in self._rebalance.owned():
            partition = TopicPartition(*state.key)
            if not state.paused:
                _, high = consumer.get_watermark_offsets(partition, cached=True)
                state.end = high if high >= 0 else state.end
            elif ask and state.was_paused_for(now, END_QUERY_SECONDS):
                try:
                    _, state.end = consumer.get_watermark_offsets(partition, timeout=REQUEST_SECONDS)
                except KafkaException as error:
                    ask = False
                    logger.debug("the end offset of a paused partition is unknown: %s", reason(error))
