"""Since when the oldest record waits that a group has not settled: its time is in the record alone."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.observability.metrics import Lag
from streams.settings import Settings
from streams.transport.kafka.client import client_config, client_logger

Place = tuple[str, int]
"""Topic and partition."""

FETCH_BYTES = 16 * 1024
"""Asked of each partition at once: one record is enough, and Kafka sends at least one whatever its size."""
POLL_SECONDS = 0.2


def oldest_records(settings: Settings, lags: Iterable[Lag]) -> dict[Place, datetime]:
    """The time of the first unsettled record in each partition that has lag, by Kafka's or its producer's clock.

    A partition is left out whose record does not come within `kafka_request_timeout`, may not be read, or has no time.
    """
    waiting = {(lag.topic, lag.partition): lag for lag in lags if lag.lag}
    found: dict[Place, datetime] = {}
    if not waiting:
        return found
    consumer = Consumer(
        {
            **client_config(settings),
            "group.id": f"{settings.application}.lag",  # it joins no group: the client only wants a name for one
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": FETCH_BYTES,
            "queued.min.messages": 1,
        },
        logger=client_logger,
    )
    try:
        consumer.assign([TopicPartition(*place, lag.current_offset) for place, lag in waiting.items()])
        deadline = time.monotonic() + settings.kafka_request_timeout
        while waiting and time.monotonic() < deadline:
            for message in consumer.consume(len(waiting), POLL_SECONDS):
                place = (message.topic() or "", message.partition() or 0)
                if waiting.pop(place, None) is None:
                    continue
                consumer.incremental_unassign([TopicPartition(*place)])
                if (at := _time(message)) is not None:
                    found[place] = at
            for place in _without_record(consumer, waiting):
                del waiting[place]
    except KafkaException:
        return found  # the lag itself has been told; what is known of the oldest is better than nothing
    finally:
        consumer.close()
    return found


def _without_record(consumer: Consumer, waiting: dict[Place, Lag]) -> list[Place]:
    """Partitions that were read to their end: what lies there are the markers of transactions."""
    positions = consumer.position([TopicPartition(*place) for place in waiting]) if waiting else []
    return [
        (position.topic, position.partition)
        for position in positions
        if position.offset >= waiting[position.topic, position.partition].end_offset
    ]


def _time(message: Message) -> datetime | None:
    if message.error() is not None:  # such as a topic that this client may not read
        return None
    _, milliseconds = message.timestamp()
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC) if milliseconds > 0 else None
