"""Partitions that come, go and are lost: librdkafka's rebalance callbacks of one group, in its poll thread."""

import asyncio
import json
import logging

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from streams.settings import Settings
from streams.transport.kafka.client import reason
from streams.transport.kafka.group import AssignmentListener, Group
from streams.transport.kafka.offset_commits import OffsetCommits
from streams.transport.kafka.partition import PartitionState
from streams.transport.kafka.records import Assignment
from streams.transport.kafka.thread_bridge import ThreadBridge

logger = logging.getLogger(__name__)

IDLE_MEMBER_MS = 6_000
"""A member that heartbeats for so long and has no partition has nothing to assign: above the broker's heartbeat."""
LOOP_SLACK_SECONDS = 1.0
"""How much longer than the revoke bound the thread waits for the loop to say that it is over."""


class Rebalance:
    """The partitions that the group has given to this worker. The poll thread writes, any thread may look."""

    def __init__(self, group: Group, settings: Settings, listener: AssignmentListener, bridge: ThreadBridge) -> None:
        self._group = group
        self._settings = settings
        self._listener = listener
        self._bridge = bridge
        self._owned: dict[tuple[str, int], PartitionState] = {}
        self.commits = OffsetCommits(group, self.find)
        self.closing = False
        """True once everything is fenced and committed and the consumer only has to leave."""
        self.joined = False
        """True once the group has given this member its share, be it nothing."""
        self.rebalances = 0
        self.lost = 0
        self.late = 0

    def owned(self) -> list[PartitionState]:
        """The partitions held now."""
        return list(self._owned.values())

    def find(self, topic: str, partition: int) -> PartitionState | None:
        """A partition, if it is held now."""
        return self._owned.get((topic, partition))

    def fence_all(self) -> None:
        """Take no settlement any more."""
        for owned in self.owned():
            owned.assignment.revoked = True

    # librdkafka calls these from poll and waits for them

    def assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """New partitions: begin at the committed offset, or at the start where there is none."""
        came = [self._own(consumer, place) for place in self._committed(consumer, partitions)]
        consumer.incremental_assign([place for _, place in came])
        self._owned.update((owned.key, owned) for owned, _ in came)
        self.joined = True
        if came:
            self.rebalances += 1
            self._bridge.post(self._listener.assigned, [owned.assignment for owned, _ in came])
            self._log(logging.INFO, "partitions assigned", partitions)

    def revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Partitions go: let their work end within the bound, fence them, commit, give them back."""
        went = self._take(partitions)
        if not self.closing:
            assignments = [owned.assignment for owned in went]
            if not self._bridge.wait(
                self._finish(assignments), self._settings.revoke_drain_timeout + LOOP_SLACK_SECONDS
            ):
                logger.warning("the event loop is blocked: revoked partitions are let go without waiting for it")
            for assignment in assignments:
                assignment.revoked = True
            self.commits.send_and_wait(consumer, went)
        consumer.incremental_unassign(partitions)
        self._tell(went)
        self._log(logging.INFO, "partitions revoked", partitions)

    def lose(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Partitions are gone already: fence them; nothing can be committed."""
        went = self._take(partitions)
        for owned in went:
            owned.assignment.revoked = True
        self.lost += len(went)
        consumer.incremental_unassign(partitions)
        self._tell(went)
        self._log(logging.WARNING, "partitions lost: their new owner does again what was under way", partitions)

    def look(self, statistics: str) -> None:
        """Librdkafka's `stats_cb`: a member of the new protocol that gets no partition is never told so."""
        if self.joined:
            return
        state = json.loads(statistics).get("cgrp", {})
        self.joined = state.get("state") == "up" and state.get("stateage", 0) >= IDLE_MEMBER_MS

    async def _finish(self, assignments: list[Assignment]) -> None:
        for assignment in assignments:
            assignment.revoking = True
        try:
            await asyncio.wait_for(self._listener.revoking(assignments), self._settings.revoke_drain_timeout)
        except TimeoutError:
            logger.info("revoked partitions still had work under way", extra={"group": self._group.group_id})
        finally:
            for assignment in assignments:
                assignment.revoked = True

    def _committed(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        if not partitions:
            return []
        try:
            return consumer.committed(partitions, timeout=self._settings.kafka_request_timeout)
        except KafkaException as error:
            logger.warning(
                "committed offsets are unknown for now; librdkafka asks again",
                extra={"group": self._group.group_id, "error": reason(error)},
            )
            return partitions

    def _own(self, consumer: Consumer, place: TopicPartition) -> tuple[PartitionState, TopicPartition]:
        assignment = Assignment(place.topic, place.partition, self._group.group_id, self._count_late)
        owned = PartitionState(assignment, self._group)
        if place.offset >= 0:
            owned.committed = place.offset
        elif place.offset == OFFSET_INVALID:
            try:
                owned.start, _ = consumer.get_watermark_offsets(place, timeout=self._settings.kafka_request_timeout)
            except KafkaException as error:
                logger.warning(
                    "the start of a partition is unknown for now",
                    extra={"group": self._group.group_id, "topic": place.topic, "error": reason(error)},
                )
            else:
                place = TopicPartition(place.topic, place.partition, owned.start)
        assignment.start = place.offset if place.offset >= 0 else None
        return owned, place

    def _take(self, partitions: list[TopicPartition]) -> list[PartitionState]:
        self.rebalances += 1
        found = (self._owned.pop((place.topic, place.partition), None) for place in partitions)
        return [owned for owned in found if owned is not None]

    def _tell(self, went: list[PartitionState]) -> None:
        if went:
            self._bridge.post(self._listener.revoked, [owned.assignment for owned in went])

    def _count_late(self) -> None:
        self.late += 1

    def _log(self, level: int, text: str, partitions: list[TopicPartition]) -> None:
        names = sorted(f"{place.topic}[{place.partition}]" for place in partitions)
        logger.log(level, text, extra={"group": self._group.group_id, "partitions": names})
