"""Reads from Kafka what the exporter reports, with few requests: one for all partitions wherever there is one."""

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from confluent_kafka import KafkaException
from confluent_kafka.admin import ClusterMetadata, ConfigResource

from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.observability.metrics import Lag
from streams.operations.kafka_admin import KafkaAdmin, KafkaRefusedError, Offsets, lag_group, partition_counts
from streams.operations.lag import committed_offsets, group_partitions, lags_of
from streams.operations.monitoring.record_times import RecordTimes
from streams.operations.monitoring.sample import KafkaSample, Partition, Place
from streams.operations.partition_offsets import PartitionOffsets
from streams.settings import POOL_NAMES, PoolName, Settings
from streams.topics import Catalogue

log = get_logger(__name__)
CONFIG_SECONDS = 60.0
"""How long the retention of a topic is kept. Operators change it seldom, and its request has a large answer."""


class KafkaReader:
    """Connections to Kafka for repeated reading. Used by one thread.

    What is wrong with one partition or one topic leaves out only that one.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        """Create the clients without waiting for a broker. Raises KafkaException if librdkafka rejects the settings."""
        self._catalogue = catalogue
        self._cluster = KafkaAdmin(settings)
        # librdkafka's admin client crashes while a group's coordinator moves; see `KafkaAdmin.committed`.
        self._readers = {pool: self._cluster.offset_reader(catalogue.group(pool)) for pool in POOL_NAMES}
        self._offsets = PartitionOffsets(self._cluster, lag_group(settings))
        self._times = RecordTimes(settings)
        self._retention: dict[str, tuple[float, float | None]] = {}
        self._problems: set[str] = set()
        self._former_problems: set[str] = set()

    def read(self) -> KafkaSample:
        """Return the present state. Each request takes at most `kafka_request_timeout`.

        Raises BrokersUnreachableError, KafkaRefusedError.
        """
        self._problems, self._former_problems = set(), self._problems
        try:
            return self._read()
        finally:
            # librdkafka keeps its log lines and errors in memory until the client is polled.
            self._cluster.admin.poll(0)
            self._offsets.poll()
            self._times.poll()
            for consumer in self._readers.values():
                consumer.poll(0)

    def _read(self) -> KafkaSample:
        metadata = self._offsets.metadata()
        existing = partition_counts(metadata)
        grouped = {pool: group_partitions(self._catalogue, pool, existing) for pool in POOL_NAMES}
        consumed = [place for places in grouped.values() for place in places]
        dlqs = [name for topic in self._catalogue if (name := self._catalogue.dlq(topic.name)) in existing]
        places = [*consumed, *((name, number) for name in dlqs for number in range(existing[name]))]
        committed = committed_offsets(
            lambda pool: self._cluster.retry_while_moving(partial(self._committed, pool, grouped[pool])), grouped
        )
        self._warn_of_groups(committed)
        first, next_ = self._offsets.first(places), self._offsets.next(places)
        earliest, latest = self._readable(first), self._readable(next_)
        found = [
            one
            for pool in POOL_NAMES
            for one in lags_of(self._catalogue.group(pool), grouped[pool], committed[pool], first, next_)
        ]
        lags = [one for one in found if isinstance(one, Lag)]
        return KafkaSample(
            at=time.monotonic(),
            brokers=len(metadata.brokers),
            partitions=[_partition(place, metadata, earliest, latest) for place in places],
            lags=lags,
            members=self._members(),
            oldest=self._oldest(lags),
            retention=self._retentions(sorted({lag.topic for lag in lags if lag.lag})),
        )

    def _committed(self, pool: PoolName, places: Sequence[Place]) -> Offsets:
        return self._cluster.committed_by(self._readers[pool], self._catalogue.group(pool), places)

    def _warn_of_groups(self, committed: Mapping[PoolName, Offsets | KafkaRefusedError]) -> None:
        for pool, offsets in committed.items():
            what = f"committed offsets of {self._catalogue.group(pool)}"
            if isinstance(offsets, KafkaRefusedError):
                self._warn(what, str(offsets))
            else:
                self._readable(offsets, what)

    def _readable(self, offsets: Offsets, what: str = "offsets of partitions") -> dict[Place, int]:
        """Return the offsets that could be read, and warn of the others."""
        refused = [offset for offset in offsets.values() if isinstance(offset, KafkaRefusedError)]
        if refused:
            self._warn(what, str(refused[0]), partitions=len(refused))
        return {place: offset for place, offset in offsets.items() if not isinstance(offset, KafkaRefusedError)}

    def _members(self) -> dict[str, int]:
        """Return the number of members of each group. A group that does not exist has none."""
        groups = [self._catalogue.group(pool) for pool in POOL_NAMES]
        found = {}
        futures = self._cluster.admin.describe_consumer_groups(groups, request_timeout=self._cluster.timeout)
        for group, future in futures.items():
            try:
                found[group] = len(self._cluster.answer(future, f"describe the group {group}").members)
            except KafkaRefusedError as error:
                self._warn(f"members of {group}", str(error))
        return found

    def _oldest(self, lags: Iterable[Lag]) -> dict[Place, float | None]:
        try:
            return self._times.read(lags)
        except KafkaException as error:
            self._warn("oldest unsettled records", message(error))
            return {}

    def _retentions(self, topics: Iterable[str]) -> dict[str, float]:
        """Return the retention of topics that delete by time, in seconds."""
        now = time.monotonic()
        known = {name: one for name, one in self._retention.items() if now - one[0] < CONFIG_SECONDS}
        if missing := [name for name in topics if name not in known]:
            resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in missing]
            self._cluster.refresh()
            futures = self._cluster.admin.describe_configs(resources, request_timeout=self._cluster.timeout)
            for resource, future in futures.items():
                try:
                    entries = self._cluster.answer(future, f"describe {resource.name}")
                except KafkaRefusedError as error:
                    self._warn(f"retention of {resource.name}", str(error))
                    continue
                known[resource.name] = (now, _seconds({name: entry.value for name, entry in entries.items()}))
        self._retention = known
        return {name: seconds for name in topics if name in known and (seconds := known[name][1]) is not None}

    def _warn(self, what: str, error: str, **fields: int) -> None:
        """Log that something cannot be read: once, not at each collection."""
        if what not in self._problems | self._former_problems:
            log.warning("cannot be read; its figures are left out", what=what, error=error, **fields)
        self._problems.add(what)


def _seconds(config: Mapping[str, str | None]) -> float | None:
    """Return the retention by time of a topic's configuration in seconds. None: no record is deleted by its age."""
    milliseconds = int(config.get("retention.ms") or -1)
    if milliseconds < 0 or "delete" not in (config.get("cleanup.policy") or ""):
        return None
    return milliseconds / 1000


def _partition(
    place: Place, metadata: ClusterMetadata, earliest: Mapping[Place, int], latest: Mapping[Place, int]
) -> Partition:
    found = metadata.topics[place[0]].partitions[place[1]]
    return Partition(
        *place,
        oldest_offset=earliest.get(place),
        end_offset=latest.get(place),
        under_replicated=len(found.isrs) < len(found.replicas),
    )
