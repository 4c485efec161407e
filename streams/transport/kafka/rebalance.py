"""librdkafka's rebalance callbacks of one group. They run in the poll thread."""

import asyncio
import json
import logging
import time
from collections.abc import Collection, Sequence

from confluent_kafka import Consumer, TopicPartition

from streams.settings import Settings
from streams.transport.kafka.group import AssignmentListener, Group
from streams.transport.kafka.offset_commits import OffsetCommits
from streams.transport.kafka.partition import PartitionState
from streams.transport.kafka.partitions.faults import TopicFaults
from streams.transport.kafka.partitions.start_offsets import Start, StartOffsets
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
        self.faults = TopicFaults(group)
        self._starts = StartOffsets(group, self.faults)
        self.commits = OffsetCommits(group, self.find, self.faults)
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

    def refresh(self, consumer: Consumer, now: float) -> None:
        """Look up again where to start the partitions whose committed offset was unknown."""
        if self._starts.are_due(now):
            self._start_reading(consumer, now)

    def probe(self) -> None:
        """Let the partitions with a fault commit again: Kafka's answer shows whether they may be read."""
        for key in self.faults.partitions():
            if (state := self._owned.get(key)) is not None:
                state.probe = True

    def begin_again(self, state: PartitionState, offset: int) -> PartitionState:
        """Replace an owned partition by a new assignment that starts at `offset`, fence the old one, return the new.

        The old records are gone, so nobody could repeat their work: it is not cancelled. A pause goes on until there is
        room.
        """
        state.assignment.revoked = True
        added = self._new_state(Start(*state.key, committed=None, first=offset))
        added.paused, added.paused_at = state.paused, state.paused_at
        self._owned[state.key] = added
        self._notify_assigned([added])
        return added

    # librdkafka calls these from poll and waits for them.

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Start to read new partitions at the committed offset, or at the first one if none is committed."""
        self._starts.add(partitions)
        self.joined = True
        for topic in (self._group.group_id, *{partition.topic for partition in partitions}):
            self.faults.end(topic)
        if partitions:
            self.rebalances += 1
            self._log(logging.INFO, "partitions assigned", partitions)
        self._start_reading(consumer, time.monotonic())

    def on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Let the work of revoked partitions finish in time, then fence them, commit, and give them back.

        The commit is not awaited: a frozen broker would hold the thread for a minute. The coordinator gets it before
        the partitions have a new owner, because both go over the same connection.
        """
        removed = self._remove(partitions)
        if not self.closing:
            assignments = [state.assignment for state in removed]
            if not self._bridge.wait(
                self._drain_revoked(assignments), self._settings.revoke_drain_timeout + LOOP_SLACK_SECONDS
            ):
                logger.warning("the event loop is blocked; revoked partitions are given back without waiting for it")
            for assignment in assignments:
                assignment.revoked = True
            self.commits.send_last(consumer, removed)
        unassign(consumer, removed)
        self._notify_revoked(removed)
        self._log(logging.INFO, "partitions revoked", partitions)

    def on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Fence partitions that are lost already. Their offsets can no longer be committed."""
        removed = self._remove(partitions)
        for state in removed:
            state.assignment.revoked = True
        self.lost += len(removed)
        unassign(consumer, removed)
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

    def _start_reading(self, consumer: Consumer, now: float) -> None:
        """Read the assigned partitions whose start is known. librdkafka wants the call even if there is none."""
        found = self._starts.look_up(consumer, now)
        states = [self._new_state(start) for start in found]
        consumer.incremental_assign([start.assigned for start in found])
        self._owned.update((state.key, state) for state in states)
        self._notify_assigned(states)

    def _new_state(self, start: Start) -> PartitionState:
        assignment = Assignment(start.topic, start.partition, self._group.group_id, self._count_late)
        assignment.start = start.first if start.committed is None else start.committed
        return PartitionState(assignment, self._group, start=start.first, committed=start.committed)

    def _remove(self, partitions: list[TopicPartition]) -> list[PartitionState]:
        self.rebalances += 1
        self._starts.remove(partitions)
        self.faults.forget((partition.topic, partition.partition) for partition in partitions)
        found = (self._owned.pop((partition.topic, partition.partition), None) for partition in partitions)
        return [state for state in found if state is not None]

    def _notify_assigned(self, added: Collection[PartitionState]) -> None:
        if added:
            self._bridge.post(self._listener.on_assigned, [state.assignment for state in added])

    def _notify_revoked(self, removed: list[PartitionState]) -> None:
        if removed:
            self._bridge.post(self._listener.on_revoked, [state.assignment for state in removed])

    def _count_late(self) -> None:
        self.late += 1

    def _log(self, level: int, text: str, partitions: list[TopicPartition]) -> None:
        names = sorted(f"{partition.topic}[{partition.partition}]" for partition in partitions)
        logger.log(level, text, extra={"group": self._group.group_id, "partitions": names})


def unassign(consumer: Consumer, states: Sequence[PartitionState]) -> None:
    """Let librdkafka read these partitions no more, and end their pauses.

    librdkafka keeps a pause over the next assignment, so a partition that comes back would not be read. It ignores
    partitions that it does not know.
    """
    if paused := [state for state in states if state.paused]:
        consumer.resume([TopicPartition(*state.key) for state in paused])
        for state in paused:
            state.paused = False
    consumer.incremental_unassign([TopicPartition(*state.key) for state in states])
