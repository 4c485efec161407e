"""The lag of each pool, read from Kafka alone. It is correct with and without running workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from streams.observability.metrics import Lag
from streams.operations.kafka_admin import (
    KafkaAdmin,
    KafkaRefusedError,
    Offsets,
    PartitionId,
    lag_group,
    partition_counts,
    undescribed_topics,
)
from streams.operations.partition_offsets import PartitionOffsets
from streams.settings import POOL_NAMES, PoolName, Settings
from streams.topics import Catalogue


@dataclass(frozen=True, slots=True)
class UnknownLag:
    """A partition of a consumer group whose lag cannot be read."""

    consumergroup: str
    topic: str
    partition: int | None
    """None: all partitions of the topic."""
    error: KafkaRefusedError


@dataclass(frozen=True, slots=True)
class LagReading:
    """The lag of all groups, as far as it can be read."""

    lags: Sequence[Lag]
    unknown: Sequence[UnknownLag] = ()


def group_lag(settings: Settings, catalogue: Catalogue) -> LagReading:
    """Return the lag of every pool in each partition of its event topics and retry tiers, in this order.

    A group continues at its committed offset. If there is none, or retention has deleted its record, it continues at
    the earliest record. What cannot be read leaves out only itself. Each request takes at most `kafka_request_timeout`.

    Raises:
        BrokersUnreachableError: No broker answers.
        KafkaRefusedError: Nothing can be read.
    """
    cluster = KafkaAdmin(settings)
    with closing(PartitionOffsets(cluster, lag_group(settings))) as offsets:
        metadata = offsets.metadata()
        existing = partition_counts(metadata)
        partitions = {pool: group_partitions(catalogue, pool, existing) for pool in POOL_NAMES}
        all_partitions = [partition for pool in POOL_NAMES for partition in partitions[pool]]
        committed = committed_offsets(
            lambda pool: cluster.retry_while_moving(
                partial(cluster.committed, catalogue.group(pool), partitions[pool])
            ),
            partitions,
        )
        first, next_ = offsets.first(all_partitions), offsets.next(all_partitions)
    found = [
        one
        for pool in POOL_NAMES
        for one in lags_of(catalogue.group(pool), partitions[pool], committed[pool], first, next_)
    ]
    for name, error in undescribed_topics(metadata).items():
        pools = [pool for pool in POOL_NAMES if group_partitions(catalogue, pool, {name: 1})]
        found += [UnknownLag(catalogue.group(pool), name, None, error) for pool in pools]
    reading = LagReading(
        [one for one in found if isinstance(one, Lag)], [one for one in found if isinstance(one, UnknownLag)]
    )
    if reading.unknown and not reading.lags:
        raise reading.unknown[0].error
    return reading


def committed_offsets(
    read: Callable[[PoolName], Offsets], partitions: Mapping[PoolName, Sequence[PartitionId]]
) -> dict[PoolName, Offsets | KafkaRefusedError]:
    """Return the committed offsets of each pool's group, or why Kafka does not return them.

    Each group has a coordinator of its own, so one may be unknown while the others are known.

    Args:
        read: Reads the offsets of one group.
        partitions: The partitions of each pool. A pool without any is not read.

    Raises:
        BrokersUnreachableError: No broker answers.
        KafkaRefusedError: The offsets of no group can be read.
    """
    found: dict[PoolName, Offsets | KafkaRefusedError] = {}
    refusals: list[KafkaRefusedError] = []
    for pool, places in partitions.items():
        try:
            found[pool] = read(pool) if places else {}
        except KafkaRefusedError as error:
            found[pool] = error
            refusals.append(error)
    if refusals and len(refusals) == sum(bool(places) for places in partitions.values()):
        raise refusals[0]
    return found


def lags_of(
    group: str,
    partitions: Sequence[PartitionId],
    committed: Offsets | KafkaRefusedError,
    first: Offsets,
    next_: Offsets,
) -> Iterator[Lag | UnknownLag]:
    """Yield the lag of a group in each partition, or why it is unknown.

    Args:
        group: The consumer group.
        partitions: Its partitions.
        committed: Its committed offsets, or why none can be read.
        first: The first offset in each partition.
        next_: The offset that the next record of each partition will get.
    """
    for place in partitions:
        current = committed if isinstance(committed, KafkaRefusedError) else committed.get(place)
        earliest, latest = first[place], next_[place]
        if isinstance(current, KafkaRefusedError):
            yield UnknownLag(group, *place, current)
        elif isinstance(earliest, KafkaRefusedError):
            yield UnknownLag(group, *place, earliest)
        elif isinstance(latest, KafkaRefusedError):
            yield UnknownLag(group, *place, latest)
        else:
            yield lag_of(group, place, current, earliest, latest)


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
