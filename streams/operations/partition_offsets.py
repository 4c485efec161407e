"""Reads the first and the next offset of many partitions, with one request to each leader."""

import time
from collections.abc import Collection, Sequence

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ClusterMetadata

from streams.operations.kafka_admin import (
    MOVING,
    NO_ANSWER,
    RETRY_SECONDS,
    KafkaAdmin,
    KafkaRefusedError,
    Offsets,
    PartitionId,
    error_code,
    offset_of,
)
from streams.transport.kafka.client import reason

NO_LEADER = -1


class PartitionOffsets:
    """A connection to Kafka for reading offsets again and again. Used by one thread.

    It is a consumer that joins no group. librdkafka's admin client can read offsets too, but while the leader of one
    partition does not answer, two of its threads wake each other until the request's time is up: 40,000 to 180,000
    times a second (measured with librdkafka 2.16). It keeps the leaders of that moment, too.

    The client returns no offset at all while one partition has no leader, or the leader of one does not answer. So each
    leader is asked on its own, and partitions without one are not asked for.
    """

    def __init__(self, cluster: KafkaAdmin, name: str) -> None:
        """Create the client without waiting for a broker. `name` is the group that it never joins."""
        self._cluster = cluster
        self._consumer = cluster.offset_reader(name)
        self._leaders: dict[PartitionId, int] = {}
        self._silent: set[int] = set()
        """Leaders that did not answer. Each costs the time of a request once, until the next call of `metadata`."""

    def metadata(self) -> ClusterMetadata:
        """Return the brokers, topics and partitions, and learn the leaders. Call it before the other methods.

        Raises BrokersUnreachableError, KafkaRefusedError.
        """
        self._silent.clear()
        return self._refresh()

    def first(self, partitions: Collection[PartitionId]) -> Offsets:
        """Return the first offset in each partition. Raises BrokersUnreachableError, KafkaRefusedError.

        Asks again while leaders move, for at most the time of one request.
        """
        return self._read(partitions, OFFSET_BEGINNING)

    def next(self, partitions: Collection[PartitionId]) -> Offsets:
        """Return the offset that the next record of each partition will get. Otherwise as `first`."""
        return self._read(partitions, OFFSET_END)

    def poll(self) -> None:
        """Let librdkafka write its log lines and report its last error: it keeps them in memory until then."""
        self._consumer.poll(0)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def _refresh(self) -> ClusterMetadata:
        return self._learn(self._cluster.list_topics(self._consumer))

    def _learn(self, found: ClusterMetadata) -> ClusterMetadata:
        self._leaders = {
            (name, number): partition.leader
            for name, topic in found.topics.items()
            for number, partition in topic.partitions.items()
        }
        return found

    def _read(self, partitions: Collection[PartitionId], which: int) -> Offsets:
        deadline = time.monotonic() + self._cluster.timeout
        found = self._ask(partitions, which)
        while (moved := self._moved(found)) and time.monotonic() < deadline:
            time.sleep(RETRY_SECONDS)
            self._refresh()
            found |= self._ask(moved, which)
        return found

    def _moved(self, offsets: Offsets) -> list[PartitionId]:
        """Return the partitions that a broker refused because it does not lead them any more."""
        return [
            place
            for place, offset in offsets.items()
            if isinstance(offset, KafkaRefusedError) and offset.code in MOVING and self._leader(place) != NO_LEADER
        ]

    def _leader(self, place: PartitionId) -> int:
        return self._leaders.get(place, NO_LEADER)

    def _ask(self, partitions: Collection[PartitionId], which: int) -> Offsets:
        by_leader: dict[int, list[PartitionId]] = {}
        for place in partitions:
            by_leader.setdefault(self._leader(place), []).append(place)
        found: Offsets = {}
        for leader, places in by_leader.items():
            if leader == NO_LEADER:
                found |= _refused(places, "it has no leader now", KafkaError.LEADER_NOT_AVAILABLE)
            else:
                found |= self._ask_leader(leader, places, which)
        return {place: found[place] for place in partitions}

    def _ask_leader(self, leader: int, places: Sequence[PartitionId], which: int) -> Offsets:
        """Ask for the offsets "by time": the protocol's ListOffsets takes the two constants in place of a time."""
        silence = f"its leader, broker {leader}, does not answer"
        if leader in self._silent:
            return _refused(places, silence, KafkaError.REQUEST_TIMED_OUT)
        wanted = [TopicPartition(*place, which) for place in places]
        try:
            answers = self._consumer.offsets_for_times(wanted, timeout=self._cluster.timeout)
        except KafkaException as error:
            code = error_code(error)
            if code in NO_ANSWER:
                self._silent.add(leader)
                # It raises BrokersUnreachableError if no broker answers. It has connections of its own: this client
                # may send the request to the silent broker.
                self._learn(self._cluster.metadata())
                return _refused(places, f"{silence}: {reason(error)}", code)
            if len(places) == 1 or code in MOVING:
                return _refused(places, reason(error), code)
            # The client returns no offset at all if a broker refuses one partition. Find out which one it is.
            halves = places[::2], places[1::2]
            return {place: one for half in halves for place, one in self._ask_leader(leader, half, which).items()}
        return {(one.topic, one.partition): offset_of(one) for one in answers}


def _refused(places: Collection[PartitionId], why: str, code: int) -> Offsets:
    return {
        (topic, number): KafkaRefusedError(f"the offsets of {topic} [{number}] cannot be read: {why}", code)
        for topic, number in places
    }
