"""Plans the cluster's topics: which there should be, and the changes to get there. Topics never shrink."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from streams.settings import POOL_NAMES, Settings
from streams.topics import DLQ_RETENTION, MAX_RECORD_BYTES, RETRY_RECORD_ROOM, Catalogue

BROKERS_FOR_REPLICATION = 3
"""With this many brokers, a topic has three replicas and a write needs two: one broker may fail."""
FIX = "run `streams topics apply`"

Config = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be."""

    name: str
    partitions: int
    replication: int
    config: Config
    optional: Config = field(default_factory=dict)
    """Configuration only for brokers that know it."""
    derived: bool = False
    """True for a retry tier or DLQ, which may have more partitions than declared. An event topic may not."""


@dataclass(frozen=True, slots=True)
class ActualTopic:
    """A topic as it is on the cluster."""

    partitions: int
    replication: int
    config: Config
    """All configuration that the broker knows, with the values in effect."""


@dataclass(frozen=True, slots=True)
class Change:
    """One topic's change: create it (`create`), add partitions (`grow_to`), set configuration (`config`)."""

    spec: TopicSpec
    create: bool = False
    grow_to: int | None = None
    config: Config = field(default_factory=dict)

    def __str__(self) -> str:
        if self.create:
            return f"{self.spec.name} is missing"
        lines = [] if self.grow_to is None else [f"has too few partitions: {self.grow_to} are declared"]
        if self.config:
            lines.append("needs " + ", ".join(f"{name}={value}" for name, value in sorted(self.config.items())))
        return f"{self.spec.name} " + "; ".join(lines)


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that `apply` can make, and the problems that it cannot solve."""

    changes: tuple[Change, ...]
    problems: tuple[str, ...]
    """One line each: a person must decide."""


def desired_topics(catalogue: Catalogue, settings: Settings, brokers: int) -> list[TopicSpec]:
    """Return the event topics, their DLQs, and the retry tiers of each pool with topics, ordered by name.

    Args:
        catalogue: The topics and their pools.
        settings: The partitions, the replication factor and the retry delays.
        brokers: The number of brokers in the cluster.
    """
    usual = BROKERS_FOR_REPLICATION if brokers >= BROKERS_FOR_REPLICATION else 1
    replication = settings.replication_factor or usual
    safety = {
        "cleanup.policy": "delete",
        "unclean.leader.election.enable": "false",
        "min.insync.replicas": "2" if replication >= BROKERS_FOR_REPLICATION else "1",
    }
    room = {"max.message.bytes": str(MAX_RECORD_BYTES + RETRY_RECORD_ROOM)}
    specs = []
    for topic in catalogue:
        partitions = topic.partitions or settings.partitions
        own = {"retention.ms": _milliseconds(topic.retention), "max.message.bytes": str(MAX_RECORD_BYTES)}
        dead = {"retention.ms": _milliseconds(DLQ_RETENTION), **room}
        specs.append(TopicSpec(topic.name, partitions, replication, {**safety, **own}))
        # KIP-1191 sends a dead record to the partition with its source's number, so there are as many.
        dlq = catalogue.dlq(topic.name)
        specs.append(TopicSpec(dlq, partitions, replication, {**safety, **dead}, _SHARE_GROUP_DLQ, derived=True))
    # Retention must never delete a waiting record: it is the only copy of a delivery.
    waiting = {"retention.ms": "-1", "retention.bytes": "-1", **room}
    specs += [
        TopicSpec(tier, catalogue.tier_partitions(pool), replication, {**safety, **waiting}, derived=True)
        for pool in POOL_NAMES
        if catalogue.in_pool(pool)
        for tier in catalogue.tiers(pool)
    ]
    return sorted(specs, key=lambda spec: spec.name)


def plan(desired: Iterable[TopicSpec], actual: Mapping[str, ActualTopic]) -> Plan:
    """Return the changes that lead to the desired topics, and the problems that no change can solve."""
    changes, problems = [], []
    for spec in desired:
        found = actual.get(spec.name)
        if found is None:
            changes.append(Change(spec, create=True))
            continue
        if found.partitions > spec.partitions and not spec.derived:
            problems.append(_too_many(spec, found.partitions))
        if found.replication < spec.replication:
            problems.append(
                f"{spec.name} has {found.replication} replicas, {spec.replication} are wanted: "
                "use kafka-reassign-partitions"
            )
        change = Change(
            spec,
            grow_to=spec.partitions if found.partitions < spec.partitions else None,
            config=_different_config(spec, found.config),
        )
        if change.grow_to or change.config:
            changes.append(change)
    return Plan(tuple(changes), tuple(problems))


def missing_topics(desired: Iterable[TopicSpec], existing: Collection[str]) -> list[str]:
    """Return the names of desired topics that are not on the cluster."""
    return [spec.name for spec in desired if spec.name not in existing]


def start_problems(desired: Iterable[TopicSpec], partitions: Mapping[str, int]) -> list[str]:
    """Return why a worker must not start, one line each: missing topics, and event topics with wrong partition counts.

    `partitions` has the partition counts of the cluster's topics.
    """
    specs = list(desired)
    missing = missing_topics(specs, partitions)
    lines = [f"missing on the cluster: {', '.join(missing)}; {FIX}"] if missing else []
    for spec in specs:
        count = spec.partitions if spec.derived else partitions.get(spec.name, spec.partitions)
        if count < spec.partitions:
            lines.append(f"{spec.name} has {count} partitions, but {spec.partitions} are declared; {FIX}")
        elif count > spec.partitions:
            lines.append(_too_many(spec, count))
    return lines


def _too_many(spec: TopicSpec, count: int) -> str:
    return (
        f"{spec.name} has {count} partitions, but {spec.partitions} are declared: topics never shrink, "
        f"declare {count} (STREAMS_PARTITIONS or STREAMS_OVERRIDES)"
    )


def _different_config(spec: TopicSpec, actual: Config) -> dict[str, str]:
    known = {name: value for name, value in spec.optional.items() if name in actual}
    return {name: value for name, value in {**spec.config, **known}.items() if actual.get(name) != value}


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


_SHARE_GROUP_DLQ = {"errors.deadletterqueue.group.enable": "true"}
"""KIP-1191: share groups may also send their dead records here."""
