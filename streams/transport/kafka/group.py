"""A consumer group of one pool, its counters, and the listener for its assignments."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streams.transport.kafka.errors import StartError
from streams.transport.kafka.records import Assignment


@dataclass(frozen=True, slots=True)
class Group:
    """One pool's consumer group: its topics, and how many unsettled records a partition may have.

    A partition is paused above `high` unsettled records and resumed below `low`. Keep them well apart: a pause
    discards what librdkafka has fetched ahead.
    """

    pool: str
    group_id: str
    topics: tuple[str, ...]
    high: int = 4000
    low: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            message = f"group {self.group_id}: low ({self.low}) must be above 0 and below high ({self.high})"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class LagSample:
    """The lag of a group on one partition that this worker owns."""

    group_id: str
    topic: str
    partition: int
    current_offset: int
    """The committed offset."""
    end_offset: int
    lag: int


@dataclass(frozen=True, slots=True)
class GroupActivity:
    """Counters of one group since this process started."""

    group_id: str
    owned: int
    """Partitions that this worker owns now."""
    paused: int
    """Owned partitions that are paused until their records are settled."""
    rebalances: int
    """How often partitions were assigned, revoked or lost."""
    lost: int
    """Partitions lost without a revocation. Their new owner repeats the work that was in progress."""
    late: int
    """Settlements that were ignored because the partition was already revoked."""
    commit_failures: int
    """Failed offset commits. Each is repeated one second later."""
    deleted_unread: Mapping[str, int]
    """By topic: how many offsets retention deleted before they were read."""
    unreadable: Mapping[str, str]
    """By topic, or the group's id: why it cannot be read now."""
    oldest_unsettled: Mapping[str, int | None]
    """By topic: the timestamp in ms of its oldest unsettled record; None: every record is settled.

    A topic is left out if nothing that was read is unsettled, but its log goes on: the age of the next record is not
    known.
    """


class AssignmentListener(Protocol):
    """Gets the changes of the assignment. All methods are called on the event loop's thread."""

    def on_assigned(self, assignments: Collection[Assignment]) -> None:
        """Take note of new partitions. Their first chunks follow."""

    async def on_revoking(self, assignments: Collection[Assignment]) -> None:
        """Finish the running work of these partitions and start none. Cancelled after `revoke_drain_timeout`."""

    def on_revoked(self, assignments: Collection[Assignment]) -> None:
        """Cancel the rest of their work: they are revoked. Later settlements are ignored."""

    async def drain(self) -> None:
        """Finish the running work and start none: the worker stops. Cancelled after `drain_timeout`."""


def check_readers(groups: Iterable[Group], readers: Mapping[str, Sequence[str]]) -> None:
    """Check that every topic of the groups has exactly one agent, and that no agent reads another topic.

    A topic without an agent would never be read. A topic with two agents would be settled twice.

    Args:
        groups: The consumer groups of this worker.
        readers: The names of the agents, by topic.

    Raises:
        StartError: A topic has no agent, more than one agent, or more than one group.
    """
    owners: dict[str, str] = {}
    for group in groups:
        for topic in group.topics:
            if topic in owners:
                message = f"{topic} is in two consumer groups, {owners[topic]} and {group.group_id}: use one per topic"
                raise StartError(message)
            owners[topic] = group.group_id
    if missing := owners.keys() - readers.keys():
        message = f"no agent reads {_listed(missing)}: their records would never be processed"
        raise StartError(message)
    if stray := readers.keys() - owners.keys():
        message = f"agents read {_listed(stray)}, but no consumer group of this worker has these topics"
        raise StartError(message)
    for topic, names in readers.items():
        if len(names) > 1:
            message = f"{topic} has {len(names)} agents, {_listed(names)}: use one agent per topic"
            raise StartError(message)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
