"""librdkafka's rebalance callbacks of one group. They run in the poll thread."""

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
"""A member without a partition counts as joined after this long. It is longer than the broker's heartbeat interval."""
LOOP_SLACK_SECONDS = 1.0
"""How much longer than `revoke_drain_timeout` the thread waits for the event loop."""


class Rebalance:
    """The partitions that the group has assigned to this worker. The poll thread writes them, any thread may read."""

    def __init__(self, group: Group, settings: Settings, listener: AssignmentListener, bridge: ThreadBridge) -> None:
        """Start without any partition.

        Args:
            group: The consumer group.
            settings: The time limits.
            listener: Gets the changes of the assignment.
            bridge: Calls the listener on the event loop.
        """
        self._group = group
        self._settings = settings
        self._listener = listener
        self._bridge = bridge
        self._owned: dict[tuple[str, int], PartitionState] = {}
        self.commits = OffsetCommits(group, self.find)
        self.closing = False
        """True once everything is fenced and committed, and the consumer only has to leave the group."""
        self.joined = False
        """True once the group has assigned this member its partitions, even if it got none."""
        self.rebalances = 0
        self.lost = 0
        self.late = 0

    def owned(self) -> list[PartitionState]:
        """Return the partitions that this worker owns now."""
        return list(self._owned.values())

    def find(self, topic: str, partition: int) -> PartitionState | None:
        """Return a partition if this worker owns it now."""
        return self._owned.get((topic, partition))

    def fence_all(self) -> None:
        """Ignore all later settlements."""
        for state in self.owned():
            state.assignment.revoked = True

    # librdkafka calls these from poll and waits for them.

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Start to read new partitions at the committed offset, or at the first one if none is committed."""
        added = [self._new_partition(consumer, partition) for partition in self._committed(consumer, partitions)]
        consumer.incremental_assign([partition for _, partition in added])
        self._owned.update((state.key, state) for state, _ in added)
        self.joined = True
        if added:
            self.rebalances += 1
            self._bridge.post(self._listener.on_assigned, [state.assignment for state, _ in added])
            self._log(logging.INFO, "partitions assigned", partitions)

    def on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Let the work of revoked partitions finish in time, then fence them, commit, and give them back."""
        removed = self._remove(partitions)
        if not self.closing:
            assignments = [state.assignment for state in removed]
            if not self._bridge.wait(
                self._drain_revoked(assignments), self._settings.revoke_drain_timeout + LOOP_SLACK_SECONDS
            ):
                logger.warning("the event loop is blocked; revoked partitions are given back without waiting for it")
            for assignment in assignments:
                assignment.revoked = True
            self.commits.send_and_wait(consumer, removed)
        consumer.incremental_unassign(partitions)
        self._notify_revoked(removed)
        self._log(logging.INFO, "partitions revoked", partitions)

    def on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Fence partitions that are lost already. Their offsets can no longer be committed."""
        removed = self._remove(partitions)
        for state in removed:
            state.assignment.revoked = True
        self.lost += len(removed)
        consumer.incremental_unassign(partitions)
        self._notify_revoked(removed)
        self._log(logging.WARNING, "partitions lost; their new owner repeats the work in progress", partitions)

    def on_statistics(self, statistics: str) -> None:
        """Detect that the group assigned no partition: librdkafka's `stats_cb`.

        With the new group protocol, no callback reports this.
        """
        if self.joined:
            return
        state = json.loads(statistics).get("cgrp", {})
        self.joined = state.get("state") == "up" and state.get("stateage", 0) >= IDLE_MEMBER_MS

    async def _drain_revoked(self, assignments: list[Assignment]) -> None:
        for assignment in assignments:
            assignment.revoking = True
        try:
            await asyncio.wait_for(self._listener.on_revoking(assignments), self._settings.revoke_drain_timeout)
        except TimeoutError:
            logger.info("revoked partitions still had running work", extra={"group": self._group.group_id})
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
                "committed offsets are unknown; librdkafka asks again",
                extra={"group": self._group.group_id, "error": reason(error)},
            )
            return partitions

    def _new_partition(self, consumer: Consumer, partition: TopicPartition) -> tuple[PartitionState, TopicPartition]:
        assignment = Assignment(partition.topic, partition.partition, self._group.group_id, self._count_late)
        state = PartitionState(assignment, self._group)
        if partition.offset >= 0:
            state.committed = partition.offset
        elif partition.offset == OFFSET_INVALID:
            try:
                state.start, _ = consumer.get_watermark_offsets(partition, timeout=self._settings.kafka_request_timeout)
            except KafkaException as error:
                logger.warning(
                    "the start offset of a partition is unknown",
                    extra={"group": self._group.group_id, "topic": partition.topic, "error": reason(error)},
                )
            else:
                partition = TopicPartition(partition.topic, partition.partition, state.start)
        assignment.start = partition.offset if partition.offset >= 0 else None
        return state, partition

    def _remove(self, partitions: list[TopicPartition]) -> list[PartitionState]:
        self.rebalances += 1
        found = (self._owned.pop((partition.topic, partition.partition), None) for partition in partitions)
        return [state for state in found if state is not None]

    def _notify_revoked(self, removed: list[PartitionState]) -> None:
        if removed:
            self._bridge.post(self._listener.on_revoked, [state.assignment for state in removed])

    def _count_late(self) -> None:
        self.late += 1

    def _log(self, level: int, text: str, partitions: list[TopicPartition]) -> None:
        names = sorted(f"{partition.topic}[{partition.partition}]" for partition in partitions)
        logger.log(level, text, extra={"group": self._group.group_id, "partitions": names})
