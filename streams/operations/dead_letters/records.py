"""Reads the records of dead letters from Kafka."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams import headers
from streams.delivery.delivery import header_number
from streams.operations.dead_letters.index import DeadLetter
from streams.settings import Settings
from streams.transport.kafka.client import LastConnectionError, client_config, client_logger, reason
from streams.transport.kafka.records import Record, to_record

BATCH = 500
MAX_SKIPPED = 10_000
"""With more offsets than this between two wanted records, seeking is cheaper than reading the ones in between."""

LATEST_MS = 253_402_300_799_000
"""The end of the year 9999, in ms since the epoch: the latest time that a row can have."""
RETRY_SECONDS = 0.1
"""The pause between two requests to a partition whose leader moves."""
_MOVING = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}


class RecordUnreadableError(Exception):
    """A dead letter's record cannot be read from Kafka. The message is one line."""


def read_record(settings: Settings, letter: DeadLetter) -> Record:
    """Return the record of one dead letter. Raises RecordUnreadableError."""
    for _, record in read_records(settings, [letter]):
        if record is not None:
            return record
    message = f"{letter.id} is no longer on Kafka: its topic's retention has deleted it"
    raise RecordUnreadableError(message)


def read_records(settings: Settings, letters: Sequence[DeadLetter]) -> Iterator[tuple[DeadLetter, Record | None]]:
    """Yield the records of dead letters by partition and offset, with limited use of memory.

    None means that Kafka no longer has the record. Raises RecordUnreadableError if Kafka does not answer in time.
    """
    with _consumer(settings) as consumer:
        ordered = sorted(letters, key=lambda letter: (letter.dlq_topic, letter.dlq_partition, letter.dlq_offset))
        for (topic, partition), group in groupby(ordered, key=lambda letter: (letter.dlq_topic, letter.dlq_partition)):
            yield from _of_partition(consumer, settings, TopicPartition(topic, partition), list(group))


def read_topic(settings: Settings, topic: str) -> Iterator[Record]:
    """Yield all current records of a DLQ topic, by partition. Nothing if there is no such topic."""
    with _consumer(settings) as consumer:
        for number in _partitions(consumer, settings, topic):
            partition = TopicPartition(topic, number)
            low, high = watermarks(consumer, partition, settings.kafka_request_timeout)
            yield from _range(consumer, settings, partition, low, high)


def watermarks(consumer: Consumer, partition: TopicPartition, seconds: float) -> tuple[int, int]:
    """Return the first and the next offset of a partition. Retries while its leader moves.

    Args:
        consumer: A consumer, which need not be assigned.
        partition: The topic and the partition.
        seconds: The time limit.

    Raises:
        KafkaException: Kafka does not answer in time, or rejects the request.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=seconds)
        except KafkaException as error:
            if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_SECONDS)


def is_record_of(letter: DeadLetter, record: Record) -> bool:
    """Return False if the record is another dead letter: the DLQ topic was created again since the row was written."""
    died_at = header_number(record, headers.DLQ_DIED_AT, LATEST_MS)
    return died_at is None or died_at == round(letter.died_at.timestamp() * 1000)


def partition_ends(settings: Settings, topic: str) -> dict[int, int]:
    """Return the next offset of each partition of a DLQ topic; empty if there is no such topic."""
    with _consumer(settings) as consumer:
        return {
            number: watermarks(consumer, TopicPartition(topic, number), settings.kafka_request_timeout)[1]
            for number in _partitions(consumer, settings, topic)
        }


def _partitions(consumer: Consumer, settings: Settings, topic: str) -> list[int]:
    return list(consumer.list_topics(topic, timeout=settings.kafka_request_timeout).topics[topic].partitions)


def _of_partition(
    consumer: Consumer, settings: Settings, partition: TopicPartition, letters: list[DeadLetter]
) -> Iterator[tuple[DeadLetter, Record | None]]:
    low, high = watermarks(consumer, partition, settings.kafka_request_timeout)
    existing = [letter for letter in letters if low <= letter.dlq_offset < high]
    for run in _runs(existing):
        wanted = {letter.dlq_offset: letter for letter in run}
        for record in _range(consumer, settings, partition, run[0].dlq_offset, run[-1].dlq_offset + 1):
            letter = wanted.pop(record.offset, None)
            if letter is not None:
                yield letter, record if is_record_of(letter, record) else None
        yield from ((letter, None) for letter in wanted.values())
    yield from ((letter, None) for letter in letters if letter.dlq_offset not in range(low, high))


def _runs(letters: list[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Split the letters of one partition where the next one is far away."""
    run: list[DeadLetter] = []
    for letter in letters:
        if run and letter.dlq_offset - run[-1].dlq_offset > MAX_SKIPPED:
            yield run
            run = []
        run.append(letter)
    if run:
        yield run


def _range(consumer: Consumer, settings: Settings, partition: TopicPartition, first: int, end: int) -> Iterator[Record]:
    """Yield the records of a partition from offset `first` to before `end`."""
    if first >= end:
        return
    consumer.assign([TopicPartition(partition.topic, partition.partition, first)])
    next_offset = first
    deadline = time.monotonic() + settings.kafka_request_timeout
    while next_offset < end:
        for message in consumer.consume(BATCH, timeout=0.2):
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            record = to_record(message)
            next_offset = record.offset + 1
            deadline = time.monotonic() + settings.kafka_request_timeout
            if record.offset < end:
                yield record
        # Offsets without a record (transactions) may end the range: only the position shows them.
        (position,) = consumer.position([partition])
        next_offset = max(next_offset, position.offset)
        if time.monotonic() > deadline:
            message_text = f"{partition.topic}[{partition.partition}] returns no record at offset {next_offset}"
            raise RecordUnreadableError(message_text)
    consumer.unassign()


@contextmanager
def _consumer(settings: Settings) -> Iterator[Consumer]:
    """Yield a consumer that joins no group. The client only requires a group's name. Raises RecordUnreadableError."""
    last = LastConnectionError()
    config: dict[str, Any] = {
        **client_config(settings),
        "group.id": f"{settings.application}.dead-letters",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "fetch.queue.backoff.ms": 20,
        "error_cb": last,
    }
    consumer = Consumer(config, logger=client_logger)
    try:
        yield consumer
    except KafkaException as error:
        consumer.poll(0)  # calls `error_cb`
        message = f"Kafka at {settings.kafka_bootstrap_servers} does not return the dead letters: {reason(error)}{last}"
        raise RecordUnreadableError(message) from error
    finally:
        consumer.close()
