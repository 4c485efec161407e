"""What one librdkafka consumer consumes, and what it tells of it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streams.transport.kafka.errors import StartError
from streams.transport.kafka.records import Assignment


@dataclass(frozen=True, slots=True)
class Group:
    """One pool's consumer group: its topics, and how many records of a partition may be unsettled.

    A partition is paused above `high` and resumed below `low`. Keep them well apart: a pause throws away what
    librdkafka has fetched ahead.
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
    """How far a group is behind on one partition that this worker owns."""

    group_id: str
    topic: str
    partition: int
    current_offset: int
    """The committed offset."""
    end_offset: int
    lag: int


@dataclass(frozen=True, slots=True)
class GroupActivity:
    """Counters of one group in this process, from its start."""

    group_id: str
    owned: int
    """Partitions held now."""
    paused: int
    """Of those, how many wait for their records to be settled."""
    rebalances: int
    """Times that partitions came, went or were lost."""
    lost: int
    """Partitions taken away without notice: what ran for them is done again elsewhere."""
    late: int
    """Settlements ignored because the partition had gone."""
    commit_failures: int
    """Commits refused; each is tried again a second later."""


class AssignmentListener(Protocol):
    """Who works on the chunks, told of what comes and goes. Called on the event loop's thread."""

    def assigned(self, assignments: Collection[Assignment]) -> None:
        """Partitions came; their first chunks follow."""

    async def revoking(self, assignments: Collection[Assignment]) -> None:
        """Finish what runs for these and begin nothing; cancelled after `revoke_drain_timeout`."""

    def revoked(self, assignments: Collection[Assignment]) -> None:
        """They are gone: cancel the rest. What is settled from now on is ignored."""

    async def drain(self) -> None:
        """The worker stops: finish what runs and begin nothing; cancelled after `drain_timeout`."""


def match_readers(groups: Iterable[Group], readers: Mapping[str, Sequence[str]]) -> None:
    """Check that every topic of the groups has one reader, and no other topic has any.

    `readers` are agents' names by topic. Raises StartError: a topic without one would wait for ever, one with two
    would be settled twice.
    """
    owners: dict[str, str] = {}
    for group in groups:
        for topic in group.topics:
            if topic in owners:
                message = f"{topic} is in two consumer groups, {owners[topic]} and {group.group_id}: one group a topic"
                raise StartError(message)
            owners[topic] = group.group_id
    if missing := owners.keys() - readers.keys():
        message = f"no agent reads {_listed(missing)}: their records would wait for ever"
        raise StartError(message)
    if stray := readers.keys() - owners.keys():
        message = f"agents read {_listed(stray)}, which no consumer group of this worker has"
        raise StartError(message)
    for topic, names in readers.items():
        if len(names) > 1:
            message = f"{topic} has {len(names)} agents, {_listed(names)}: one agent a topic"
            raise StartError(message)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
