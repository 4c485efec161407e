"""How far each pool is behind, asked of Kafka alone: right while workers run and while none does."""

from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial

from confluent_kafka import TopicPartition
from confluent_kafka.admin import ListOffsetsResultInfo, OffsetSpec

from streams.observability.metrics import Lag
from streams.operations.kafka_admin import KafkaAdmin
from streams.settings import POOL_NAMES, PoolName, Settings
from streams.topics import Catalogue

Place = tuple[str, int]
"""Topic and partition."""

_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent-kafka leaves it untyped
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent-kafka leaves it untyped


def group_lag(settings: Settings, catalogue: Catalogue) -> list[Lag]:
    """The lag of every pool in every partition of its event topics and existing retry tiers, ordered by them.

    A group reads on at its committed offset, or at the earliest record where it has committed none (all of it counts
    then) or retention has removed that one. Each request is bounded by `kafka_request_timeout`.
    Raises BrokersUnreachableError, KafkaRefusedError.
    """
    cluster = KafkaAdmin(settings)
    existing = {name: len(topic.partitions) for name, topic in cluster.metadata().topics.items()}
    places = {pool: group_places(catalogue, pool, existing) for pool in POOL_NAMES}
    everywhere = [place for pool in POOL_NAMES for place in places[pool]]
    committed = {
        pool: cluster.until_answered(partial(_committed, cluster, catalogue.group(pool), places[pool]))
        for pool in POOL_NAMES
    }
    earliest = cluster.until_answered(partial(_offsets, cluster, everywhere, _EARLIEST))
    latest = cluster.until_answered(partial(_offsets, cluster, everywhere, _LATEST))
    return [
        lag_of(catalogue.group(pool), place, committed[pool].get(place), earliest[place], latest[place])
        for pool in POOL_NAMES
        for place in places[pool]
    ]


def group_places(catalogue: Catalogue, pool: PoolName, existing: Mapping[str, int]) -> list[Place]:
    """The partitions that a pool's group consumes: its event topics and every tier there is, former delays' too.

    `existing`: partition counts of the topics on the cluster.
    """
    events = [topic.name for topic in catalogue.in_pool(pool) if topic.name in existing]
    tiers = sorted(name for name in existing if name.startswith(catalogue.tier_prefix(pool)))
    return [(topic, partition) for topic in (*events, *tiers) for partition in range(existing[topic])]


def lag_of(consumergroup: str, place: Place, committed: int | None, earliest: int, latest: int) -> Lag:
    """The lag in one partition from what Kafka tells of it; `committed` None: the group has committed none there."""
    current = max(earliest if committed is None else committed, earliest)
    return Lag(consumergroup, *place, current_offset=current, end_offset=latest, lag=max(latest - current, 0))


def _committed(cluster: KafkaAdmin, group: str, places: list[Place]) -> dict[Place, int]:
    return cluster.committed(group, places) if places else {}


def _offsets(cluster: KafkaAdmin, places: list[Place], spec: OffsetSpec) -> dict[Place, int]:
    if not places:
        return {}
    wanted = {TopicPartition(*place): spec for place in places}
    futures: dict[TopicPartition, Future[ListOffsetsResultInfo]] = cluster.admin.list_offsets(
        wanted, request_timeout=cluster.timeout
    )
    return {
        (partition.topic, partition.partition): answer.offset
        for partition, answer in cluster.answers(futures, "read the offsets of")
    }
