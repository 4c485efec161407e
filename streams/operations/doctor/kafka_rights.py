"""The check of the rights on Kafka topics that a worker needs, as the brokers' authorizer knows them."""

from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AclOperation

from streams.operations.doctor.finding import Finding, ok
from streams.operations.kafka_admin import KafkaAdmin
from streams.topics import POOLS, Catalogue

_SUBJECT = "Kafka rights"
_REMEDY = "give its principal the rights of a worker (ACLs: docs/explanation/threat-model.md)"
_CONSUME = (AclOperation.READ, AclOperation.WRITE)
_PRODUCE = (AclOperation.WRITE,)


def needed_rights(catalogue: Catalogue) -> Mapping[str, Sequence[AclOperation]]:
    """Return what a worker and its relay do with each topic. DESCRIBE is left out: without it, a topic is missing.

    A tier also needs DELETE, or settled records stay in it; they do no harm, so that right is left out.
    """
    return {
        **{topic.name: _CONSUME for topic in catalogue},
        **{catalogue.dlq(topic.name): _PRODUCE for topic in catalogue},
        **{tier: _CONSUME for pool in POOLS for tier in catalogue.tiers(pool.name)},
    }


def examine_rights(cluster: KafkaAdmin, catalogue: Catalogue, existing: Iterable[str]) -> list[Finding]:
    """Check the rights on the topics that exist. No finding if the brokers do not report rights.

    Raises BrokersUnreachableError, KafkaRefusedError.
    """
    needed = needed_rights(catalogue)
    topics = sorted(needed.keys() & set(existing))
    if not topics:
        return []
    futures = cluster.admin.describe_topics(
        TopicCollection(topics), include_authorized_operations=True, request_timeout=cluster.timeout
    )
    granted = {name: found.authorized_operations for name, found in cluster.answers(futures, "describe")}
    return check_rights(needed, {name: rights for name, rights in granted.items() if rights is not None})


def check_rights(
    needed: Mapping[str, Sequence[AclOperation]], granted: Mapping[str, Sequence[AclOperation]]
) -> list[Finding]:
    """Return what is not allowed, in one line.

    Args:
        needed: The operations by topic.
        granted: The allowed operations of the topics whose rights are known. Without an authorizer, all are allowed.
    """
    lacking = [
        f"{operation.name} on {topic}"
        for topic, operations in sorted(granted.items())
        for operation in needed[topic]
        if not {operation, AclOperation.ALL} & set(operations)
    ]
    if lacking:
        more = f", and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        return [Finding(_SUBJECT, "fail", f"it lacks {lacking[0]}{more}", _REMEDY)]
    return [ok(_SUBJECT, "topics can be read and written")] if granted else []
