"""The checks of Kafka: brokers, version, topics, rights."""

from collections.abc import Collection, Mapping, Sequence

from confluent_kafka.admin import ConfigResource

from streams.operations.doctor.finding import Finding, State, ok
from streams.operations.doctor.kafka_rights import examine_rights
from streams.operations.kafka_admin import (
    KafkaAdmin,
    KafkaRefusedError,
    cluster_size,
    partition_counts,
    undescribed_topics,
)
from streams.operations.topics.apply import actual_topics
from streams.operations.topics.plan import FIX, TopicSpec, desired_topics, missing_topics, plan, start_problems
from streams.settings import Settings
from streams.topics import Catalogue
from streams.transport.kafka.errors import BrokersUnreachableError, StartError

VERSION = "inter.broker.protocol.version"
"""A broker's setting that names its version. Kafka 4 has no such setting."""
OLDEST = (2, 4)
"""The first version whose admin requests `topics apply` needs."""
CONSUMER_PROTOCOL_SETTING = "group.consumer.session.timeout.ms"
"""A broker's setting that comes with the group protocol `consumer` (KIP-848)."""
DECLARE = "declare what the cluster has"
SEE = "allow the role to describe the topic, or wait until Kafka can"
PROTOCOLS = "group.coordinator.rebalance.protocols"


def examine_kafka(settings: Settings, catalogue: Catalogue) -> list[Finding]:
    """Check brokers and topics. Blocks for the time-outs of a few requests."""
    cluster = KafkaAdmin(settings)
    try:
        metadata = cluster.metadata()
    except (BrokersUnreachableError, StartError) as error:
        return [Finding("Kafka", "fail", str(error), "start Kafka, or correct the setting", stops_worker=True)]
    brokers = len(metadata.brokers)
    findings = [ok("Kafka", f"{brokers} broker{'' if brokers == 1 else 's'}")]
    desired = desired_topics(catalogue, settings, cluster_size(metadata))
    partitions, undescribed = partition_counts(metadata), undescribed_topics(metadata)
    findings += [
        _topic_finding("fail", f"{undescribed[one.name]}; {SEE}") for one in desired if one.name in undescribed
    ]
    desired = [spec for spec in desired if spec.name not in undescribed]
    findings += _rights(cluster, catalogue, partitions)
    try:
        findings += check_version(_broker_config(cluster, min(metadata.brokers)), settings.group_protocol)
        planned = plan(desired, actual_topics(cluster, metadata, desired))
    except (BrokersUnreachableError, KafkaRefusedError) as error:
        remedy = "allow the role to describe configurations, to check versions and topics"
        findings.append(Finding("Kafka configuration", "warning", str(error), remedy))
        return [*findings, *check_topics(desired, partitions, [], whole=not undescribed)]
    differences = [*(f"{change}; {FIX}" for change in planned.changes), *planned.problems]
    return [*findings, *check_topics(desired, partitions, differences, whole=not undescribed)]


def _rights(cluster: KafkaAdmin, catalogue: Catalogue, existing: Collection[str]) -> list[Finding]:
    try:
        return examine_rights(cluster, catalogue, existing)
    except (BrokersUnreachableError, KafkaRefusedError) as error:
        remedy = "allow the role to describe topics, to check its rights"
        return [Finding("Kafka rights", "warning", str(error), remedy)]


def check_version(broker: Mapping[str, str | None], group_protocol: str) -> list[Finding]:
    """Check the version by a broker's configuration: Kafka's clients cannot ask for it."""
    named = broker.get(VERSION)
    text = f"{named.partition('-')[0]}" if named else "4.0 or newer"
    if named and _number(named) < OLDEST:
        remedy = "use Kafka 2.4 or newer"
        return [Finding("Kafka version", "fail", f"{text} is not supported", remedy, stops_worker=True)]
    found = [ok("Kafka version", text)]
    if group_protocol == "consumer":
        known = broker.get(PROTOCOLS) or ("consumer" if CONSUMER_PROTOCOL_SETTING in broker and not named else "")
        if "consumer" not in known.split(","):
            remedy = "use STREAMS_GROUP_PROTOCOL=cooperative, or Kafka 4 with the protocol enabled"
            lacking = "the brokers do not offer the group protocol consumer"
            found.append(Finding("group protocol", "fail", lacking, remedy, stops_worker=True))
    return found


def check_topics(
    desired: Sequence[TopicSpec], partitions: Mapping[str, int], differences: Sequence[str], *, whole: bool = True
) -> list[Finding]:
    """Return what keeps a worker from starting; without such a problem, every other difference.

    Args:
        desired: The topics that there should be.
        partitions: The partition counts of the cluster's topics.
        differences: All differences from the catalogue, in words, with what to do after a semicolon.
        whole: Whether these are all topics.
    """
    missing = missing_topics(desired, partitions)
    problems = [f"{len(missing)} of {len(desired)} are missing, such as {missing[0]}; {FIX}"] if missing else []
    there = [spec for spec in desired if spec.name in partitions]
    problems += start_problems(there, partitions)
    if problems:
        return [_topic_finding("fail", problem) for problem in problems]
    if differences:
        return [_topic_finding("warning", difference) for difference in differences]
    return [ok("topics", "all are there as declared")] if whole else []


def _topic_finding(state: State, problem: str) -> Finding:
    """Return the finding of a problem in words, which end with what to do if that is not to declare something else."""
    text, _, remedy = problem.partition("; ")
    return Finding("topics", state, text, remedy or DECLARE, stops_worker=state == "fail")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split(".")[:2] if part.isdecimal())


def _broker_config(cluster: KafkaAdmin, broker: int) -> dict[str, str | None]:
    resource = ConfigResource(ConfigResource.Type.BROKER, str(broker))
    futures = cluster.admin.describe_configs([resource], request_timeout=cluster.timeout)
    return {
        entry.name: entry.value for _, entries in cluster.answers(futures, "describe") for entry in entries.values()
    }
