"""The lag of each pool, read from Kafka alone. It is correct with and without running workers."""

from collections.abc import Mapping
from contextlib import closing
from functools import partial

from streams.observability.metrics import Lag
from streams.operations.kafka_admin import KafkaAdmin, KafkaRefusedError, lag_group
from streams.operations.partition_offsets import Offsets, PartitionId, PartitionOffsets
from streams.settings import POOL_NAMES, PoolName, Settings
from streams.topics import Catalogue


def group_lag(settings: Settings, catalogue: Catalogue) -> list[Lag]:
    """Return the lag of every pool in each partition of its event topics and retry tiers, in this order.

    A group continues at its committed offset. If there is none, or retention has deleted its record, it continues at
    the earliest record. Each request takes at most `kafka_request_timeout`. Raises BrokersUnreachableError,
    KafkaRefusedError.
    """
    cluster = KafkaAdmin(settings)
    with closing(PartitionOffsets(cluster, lag_group(settings))) as offsets:
        existing = {name: len(topic.partitions) for name, topic in offsets.metadata().topics.items()}
        partitions = {pool: group_partitions(catalogue, pool, existing) for pool in POOL_NAMES}
        all_partitions = [partition for pool in POOL_NAMES for partition in partitions[pool]]
        committed = {
            pool: cluster.retry_while_moving(partial(_committed, cluster, catalogue.group(pool), partitions[pool]))
            for pool in POOL_NAMES
        }
        earliest, latest = _all(offsets.first(all_partitions)), _all(offsets.next(all_partitions))
    return [
        lag_of(catalogue.group(pool), partition, committed[pool].get(partition), earliest[partition], latest[partition])
        for pool in POOL_NAMES
        for partition in partitions[pool]
    ]


def group_partitions(catalogue: Catalogue, pool: PoolName, existing: Mapping[str, int]) -> list[PartitionId]:
    """Return the partitions that a pool's group consumes: of its event topics and of all its existing retry tiers.

    Retry tiers of former delays are included.

    Args:
        catalogue: The topics and their pools.
        pool: The pool.
        existing: The partition counts of the cluster's topics.
    """
    events = [topic.name for topic in catalogue.in_pool(pool) if topic.name in existing]
    tiers = sorted(name for name in existing if name.startswith(catalogue.tier_prefix(pool)))
    return [(topic, partition) for topic in (*events, *tiers) for partition in range(existing[topic])]


def lag_of(consumergroup: str, partition: PartitionId, committed: int | None, earliest: int, latest: int) -> Lag:
    """Return the lag of one partition.

    Args:
        consumergroup: The consumer group.
        partition: The topic and the partition.
        committed: The group's committed offset, if there is one.
        earliest: The first offset in the partition.
        latest: The offset of the next record.
    """
    current = max(earliest if committed is None else committed, earliest)
    return Lag(consumergroup, *partition, current_offset=current, end_offset=latest, lag=max(latest - current, 0))


def _committed(cluster: KafkaAdmin, group: str, partitions: list[PartitionId]) -> dict[PartitionId, int]:
    return cluster.committed(group, partitions) if partitions else {}


def _all(offsets: Offsets) -> dict[PartitionId, int]:
    """Return the offsets of all partitions. Raises the first KafkaRefusedError."""
    found = {}
    for partition, offset in offsets.items():
        if isinstance(offset, KafkaRefusedError):
            raise offset
        found[partition] = offset
    return found
