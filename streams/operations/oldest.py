"""The timestamp of the oldest record that a group has not settled. Only the record itself has it."""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.observability.logs import get_logger
from streams.observability.metrics import Lag
from streams.operations.kafka_admin import lag_group
from streams.settings import Settings
from streams.transport.kafka.client import client_config, client_logger

log = get_logger(__name__)
Place = tuple[str, int]
"""Topic and partition."""

FETCH_BYTES = 16 * 1024
"""Asked of each partition at once: one record is enough, and Kafka sends at least one whatever its size."""
POLL_SECONDS = 0.2
QUEUE_BACKOFF_MILLISECONDS = 10
"""librdkafka fetches no records of a partition while one waits to be consumed, and looks again after this time. With
the default of a second, a record that the call before has left made the next call wait for so long."""


def oldest_records(settings: Settings, lags: Iterable[Lag]) -> dict[Place, datetime]:
    """The time of the first unsettled record in each partition that has lag, by Kafka's or its producer's clock.

    A partition is left out whose record does not come within `kafka_request_timeout`, may not be read, or has no time.
    """
    waiting = {(lag.topic, lag.partition): lag for lag in lags if lag.lag}
    found: dict[Place, float | None] = {}
    if not waiting:
        return {}
    consumer = record_consumer(settings)
    try:
        read_timestamps(consumer, waiting, settings.kafka_request_timeout, found)
    except KafkaException:
        pass  # the lag itself has been reported; the known timestamps are better than none
    finally:
        consumer.close()
    return {place: datetime.fromtimestamp(at, tz=UTC) for place, at in found.items() if at is not None}


def record_consumer(settings: Settings) -> Consumer:
    """Return a consumer for `read_timestamps`. It joins no group; the client only requires a name for one."""
    return Consumer(
        {
            **client_config(settings),
            "group.id": lag_group(settings),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": FETCH_BYTES,
            "queued.min.messages": 1,
            "fetch.queue.backoff.ms": QUEUE_BACKOFF_MILLISECONDS,
        },
        logger=client_logger,
    )


def read_timestamps(
    consumer: Consumer, wanted: Mapping[Place, Lag], seconds: float, found: dict[Place, float | None]
) -> None:
    """Read the first unsettled record of each partition, and add its timestamp in seconds since the epoch.

    None is added for a partition without any record up to its end: only the markers of transactions are there. A
    partition that cannot be read, or not in time, is left out, and so is a record without a timestamp.

    Args:
        consumer: A consumer of `record_consumer`. Afterwards it has no partitions.
        wanted: The partitions with their lag.
        seconds: The time limit.
        found: Gets the timestamps.

    Raises:
        KafkaException: The consumer failed. Timestamps that were read before are in `found`.
    """
    waiting = dict(wanted)
    deadline = time.monotonic() + seconds
    consumer.assign([TopicPartition(*place, lag.current_offset) for place, lag in waiting.items()])
    try:
        while waiting and time.monotonic() < deadline:
            for message in consumer.consume(len(waiting), POLL_SECONDS):
                place = (message.topic() or "", message.partition() or 0)
                if waiting.pop(place, None) is None:
                    continue
                consumer.incremental_unassign([TopicPartition(*place)])
                if (at := _timestamp(message)) is not None:
                    found[place] = at
                else:
                    log.debug("no time of the oldest unsettled record", topic=place[0], error=str(message.error()))
            for place in _without_record(consumer, waiting):
                del waiting[place]
                found[place] = None
        if waiting:
            log.debug("oldest record not read in time", seconds=seconds, partitions=len(waiting), first=min(waiting))
    finally:
        consumer.unassign()


def _without_record(consumer: Consumer, waiting: Mapping[Place, Lag]) -> list[Place]:
    """Partitions that were read to their end: what lies there are the markers of transactions."""
    positions = consumer.position([TopicPartition(*place) for place in waiting]) if waiting else []
    return [
        (position.topic, position.partition)
        for position in positions
        if position.offset >= waiting[position.topic, position.partition].end_offset
    ]


def _timestamp(message: Message) -> float | None:
    if message.error() is not None:  # such as a topic that this client may not read
        return None
    _, milliseconds = message.timestamp()
    return milliseconds / 1000 if milliseconds > 0 else None
