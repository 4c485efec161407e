"""Reads the cluster's topics and applies a plan to them. `plan` decides what should be."""

import time
from collections.abc import Iterable

from confluent_kafka import KafkaError
from confluent_kafka.admin import (
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    TopicMetadata,
)

from streams.operations.kafka_admin import (
    KafkaAdmin,
    KafkaRefusedError,
    cluster_size,
    partition_counts,
    undescribed_topics,
)
from streams.operations.topics.plan import ActualTopic, Change, Plan, TopicSpec, desired_topics, plan, start_problems
from streams.settings import Settings
from streams.topics import Catalogue

LEADER_POLL_SECONDS = 0.05
"""How often new topics are checked for leaders."""


def check_topics(settings: Settings, catalogue: Catalogue) -> list[str]:
    """Return the reasons why a worker must not start, one line each. Empty: all topics are as declared.

    Raises BrokersUnreachableError.
    """
    metadata = KafkaAdmin(settings).metadata()
    desired = desired_topics(catalogue, settings, cluster_size(metadata))
    undescribed = undescribed_topics(metadata)
    described = [spec for spec in desired if spec.name not in undescribed]
    lines = [str(undescribed[spec.name]) for spec in desired if spec.name in undescribed]
    return [*start_problems(described, partition_counts(metadata)), *lines]


def plan_topics(settings: Settings, catalogue: Catalogue) -> Plan:
    """Return the differences between the cluster and the catalogue, including configuration and replication.

    Raises BrokersUnreachableError, KafkaRefusedError.
    """
    cluster = KafkaAdmin(settings)
    metadata = cluster.metadata()
    desired = desired_topics(catalogue, settings, cluster_size(metadata))
    return plan(desired, actual_topics(cluster, metadata, desired))


def actual_topics(
    cluster: KafkaAdmin, metadata: ClusterMetadata, desired: Iterable[TopicSpec]
) -> dict[str, ActualTopic]:
    """Return the existing ones of the desired topics, by name.

    Args:
        cluster: The admin connection.
        metadata: The cluster's brokers and topics.
        desired: The topics that there should be.

    Raises:
        BrokersUnreachableError: No broker answers.
        KafkaRefusedError: Kafka does not describe one of them.
    """
    undescribed = undescribed_topics(metadata)
    existing = [spec.name for spec in desired if spec.name in metadata.topics]
    for name in existing:
        if name in undescribed:
            raise undescribed[name]
    if not existing:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in existing]
    futures = cluster.admin.describe_configs(resources, request_timeout=cluster.timeout)
    configs = {
        resource.name: {entry.name: entry.value for entry in entries.values()}
        for resource, entries in cluster.answers(futures, "describe")
    }
    return {
        name: ActualTopic(
            partitions=len(metadata.topics[name].partitions),
            replication=_replication(metadata.topics[name]),
            config=configs[name],
        )
        for name in existing
    }


def apply_catalogue(settings: Settings, catalogue: Catalogue) -> Plan:
    """Make the cluster's topics as the catalogue declares them. Returns the changes made, and what cannot be changed.

    A topic that somebody else has created since the plan was made is planned again: it may differ from the catalogue.
    Raises BrokersUnreachableError, KafkaRefusedError.
    """
    first = plan_topics(settings, catalogue)
    existed = apply(settings, first.changes)
    if not existed:
        return first
    second = plan_topics(settings, catalogue)
    apply(settings, second.changes)
    made = [change for change in first.changes if change.spec.name not in existed]
    return Plan((*made, *second.changes), second.problems)


def apply(settings: Settings, changes: Iterable[Change]) -> set[str]:
    """Create topics, add partitions and set configuration. Returns when new partitions accept records.

    Returns the names of the topics that existed already when they were to be created: they stay as they are.
    Raises BrokersUnreachableError, KafkaRefusedError.
    """
    cluster = KafkaAdmin(settings)
    wanted = list(changes)
    existed = _create(cluster, [change.spec for change in wanted if change.create])
    _grow(cluster, {change.spec.name: change.grow_to for change in wanted if change.grow_to is not None})
    _configure(cluster, [change for change in wanted if change.config])
    grown = [change.spec for change in wanted if change.create or change.grow_to is not None]
    _await_leaders(cluster, {spec.name: 1 if spec.name in existed else spec.partitions for spec in grown})
    return existed


def _create(cluster: KafkaAdmin, specs: list[TopicSpec]) -> set[str]:
    """Create topics. Returns the names of those that existed already."""
    existed: set[str] = set()
    if not specs:
        return existed
    by_name = {spec.name: spec for spec in specs}
    futures = cluster.admin.create_topics(
        [_new_topic(spec, optional=True) for spec in specs], request_timeout=cluster.timeout
    )
    for name, future in futures.items():
        try:
            cluster.answer(future, f"create topic {name}")
        except KafkaRefusedError as error:
            if error.code == KafkaError.TOPIC_ALREADY_EXISTS:
                existed.add(name)
                continue
            if error.code != KafkaError.INVALID_CONFIG or not by_name[name].optional:
                raise
            minimal = [_new_topic(by_name[name], optional=False)]
            again = cluster.admin.create_topics(minimal, request_timeout=cluster.timeout)
            cluster.answer(again[name], f"create topic {name}")
    return existed


def _new_topic(spec: TopicSpec, *, optional: bool) -> NewTopic:
    config = {**spec.config, **(spec.optional if optional else {})}
    return NewTopic(spec.name, num_partitions=spec.partitions, replication_factor=spec.replication, config=config)


def _grow(cluster: KafkaAdmin, counts: dict[str, int]) -> None:
    if not counts:
        return
    wanted = [NewPartitions(name, count) for name, count in counts.items()]
    futures = cluster.admin.create_partitions(wanted, request_timeout=cluster.timeout)
    for _ in cluster.answers(futures, "add partitions to"):
        pass


def _configure(cluster: KafkaAdmin, changes: list[Change]) -> None:
    if not changes:
        return
    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC,
            change.spec.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in change.config.items()
            ],
        )
        for change in changes
    ]
    futures = cluster.admin.incremental_alter_configs(resources, request_timeout=cluster.timeout)
    for _ in cluster.answers(futures, "configure"):
        pass


def _await_leaders(cluster: KafkaAdmin, partitions: dict[str, int]) -> None:
    deadline = time.monotonic() + cluster.timeout
    while partitions:
        topics = cluster.metadata().topics
        partitions = {name: count for name, count in partitions.items() if not _has_leaders(topics.get(name), count)}
        if partitions and time.monotonic() > deadline:
            message = f"{', '.join(partitions)}: created, but without leaders after {cluster.timeout:g} s"
            raise KafkaRefusedError(message, KafkaError.LEADER_NOT_AVAILABLE)
        if partitions:
            time.sleep(LEADER_POLL_SECONDS)


def _has_leaders(topic: TopicMetadata | None, partitions: int) -> bool:
    return (
        topic is not None
        and len(topic.partitions) >= partitions
        and all(partition.leader >= 0 for partition in topic.partitions.values())
    )


def _replication(topic: TopicMetadata) -> int:
    return min((len(partition.replicas) for partition in topic.partitions.values()), default=0)
