"""Which topics the cluster should have, how that differs from what it has, and making it so. Topics never shrink."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from streams.settings import POOL_NAMES, Settings
from streams.topics import DLQ_RETENTION, MAX_RECORD_BYTES, RETRY_RECORD_ROOM, Catalogue

BROKERS_FOR_REPLICATION = 3
"""From so many brokers on a topic has three replicas, and a write needs two: one broker may be lost."""
REPAIR = "run `streams topics apply`"

Config = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be."""

    name: str
    partitions: int
    replication: int
    config: Config
    optional: Config = field(default_factory=dict)
    """Configuration for brokers that know it."""
    derived: bool = False
    """A tier or DLQ: more partitions than wanted do no harm there, while an event topic's must be as declared."""


@dataclass(frozen=True, slots=True)
class ActualTopic:
    """A topic as the cluster has it."""

    partitions: int
    replication: int
    config: Config
    """Every configuration that the broker knows, with the value in force."""


@dataclass(frozen=True, slots=True)
class Change:
    """What to do to one topic: make it (`create`), add partitions (`grow_to`), set configuration (`config`)."""

    spec: TopicSpec
    create: bool = False
    grow_to: int | None = None
    config: Config = field(default_factory=dict)

    def __str__(self) -> str:
        if self.create:
            return f"{self.spec.name} is missing"
        told = [] if self.grow_to is None else [f"has too few partitions, declared are {self.grow_to}"]
        if self.config:
            told.append("needs " + ", ".join(f"{name}={value}" for name, value in sorted(self.config.items())))
        return f"{self.spec.name} " + "; ".join(told)


@dataclass(frozen=True, slots=True)
class Plan:
    """What `apply` can do, and what it cannot."""

    changes: tuple[Change, ...]
    problems: tuple[str, ...]
    """One line each: what a person has to decide."""


def desired_topics(catalogue: Catalogue, settings: Settings, brokers: int) -> list[TopicSpec]:
    """Event topics, their DLQs and the retry tiers of every pool that works on a topic, ordered by name."""
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
        # KIP-1191 puts a dead record into the DLQ's partition of its source's number: there are as many.
        dlq = catalogue.dlq(topic.name)
        specs.append(TopicSpec(dlq, partitions, replication, {**safety, **dead}, _SHARE_GROUP_DLQ, derived=True))
    # A waiting record must neither age out nor be pushed out: it is the only copy of a delivery.
    waiting = {"retention.ms": "-1", "retention.bytes": "-1", **room}
    specs += [
        TopicSpec(tier, catalogue.tier_partitions(pool), replication, {**safety, **waiting}, derived=True)
        for pool in POOL_NAMES
        if catalogue.in_pool(pool)
        for tier in catalogue.tiers(pool)
    ]
    return sorted(specs, key=lambda spec: spec.name)


def plan(desired: Iterable[TopicSpec], actual: Mapping[str, ActualTopic]) -> Plan:
    """What to change so that the cluster has what is desired, and what no change can bring about."""
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
                f"{spec.name} has {found.replication} replicas, wanted are {spec.replication}: "
                "use kafka-reassign-partitions"
            )
        change = Change(
            spec,
            grow_to=spec.partitions if found.partitions < spec.partitions else None,
            config=_differing(spec, found.config),
        )
        if change.grow_to or change.config:
            changes.append(change)
    return Plan(tuple(changes), tuple(problems))


def missing_topics(desired: Iterable[TopicSpec], existing: Collection[str]) -> list[str]:
    """Names of desired topics that the cluster lacks."""
    return [spec.name for spec in desired if spec.name not in existing]


def obstacles(desired: Iterable[TopicSpec], partitions: Mapping[str, int]) -> list[str]:
    """Why a worker must not start, one line each: missing topics, event topics with other partitions than declared.

    `partitions`: counts of the topics on the cluster.
    """
    specs = list(desired)
    missing = missing_topics(specs, partitions)
    told = [f"missing on the cluster: {', '.join(missing)}; {REPAIR}"] if missing else []
    for spec in specs:
        count = spec.partitions if spec.derived else partitions.get(spec.name, spec.partitions)
        if count < spec.partitions:
            told.append(f"{spec.name} has {count} partitions, declared are {spec.partitions}; {REPAIR}")
        elif count > spec.partitions:
            told.append(_too_many(spec, count))
    return told


def _too_many(spec: TopicSpec, count: int) -> str:
    return (
        f"{spec.name} has {count} partitions, declared are {spec.partitions}: topics never shrink, "
        f"declare {count} (STREAMS_PARTITIONS or STREAMS_OVERRIDES)"
    )


def _differing(spec: TopicSpec, actual: Config) -> dict[str, str]:
    known = {name: value for name, value in spec.optional.items() if name in actual}
    return {name: value for name, value in {**spec.config, **known}.items() if actual.get(name) != value}


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


_SHARE_GROUP_DLQ = {"errors.deadletterqueue.group.enable": "true"}
"""KIP-1191: share groups may put their dead records here too."""
