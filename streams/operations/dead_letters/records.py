"""The dead letters' records themselves, from Kafka."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.headers import Headers
from streams.operations.dead_letters.index import DeadLetter
from streams.settings import Settings
from streams.transport.kafka.client import client_config, client_logger, reason
from streams.transport.kafka.records import Record

BATCH = 500
FAR = 10_000
"""Offsets between two wanted records from which on asking Kafka anew is cheaper than reading what lies between."""

MOVING_PAUSE = 0.1
"""Seconds between two questions to a partition whose leader is on the move."""
_MOVING = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}


class RecordUnreadableError(Exception):
    """A dead letter's record cannot be had from Kafka; the message is one line."""


def read_record(settings: Settings, letter: DeadLetter) -> Record:
    """The record of one dead letter. Raises RecordUnreadableError."""
    for _, record in read_records(settings, [letter]):
        if record is not None:
            return record
    message = f"{letter.id} is no longer on Kafka: its topic's retention has passed"
    raise RecordUnreadableError(message)


def read_records(settings: Settings, letters: Sequence[DeadLetter]) -> Iterator[tuple[DeadLetter, Record | None]]:
    """The records of dead letters, partition by partition in the order of their offsets, bounded in memory.

    None: Kafka no longer has it. Raises RecordUnreadableError where Kafka does not answer within the setting's time.
    """
    with _consumer(settings) as consumer:
        ordered = sorted(letters, key=lambda letter: (letter.dlq_topic, letter.dlq_partition, letter.dlq_offset))
        for (topic, partition), group in groupby(ordered, key=lambda letter: (letter.dlq_topic, letter.dlq_partition)):
            try:
                yield from _of_partition(consumer, settings, TopicPartition(topic, partition), list(group))
            except KafkaException as error:
                raise _unanswered(settings, error) from error


def read_topic(settings: Settings, topic: str) -> Iterator[Record]:
    """All records that a DLQ topic has now, partition by partition; nothing where there is no such topic."""
    with _consumer(settings) as consumer:
        try:
            partitions = consumer.list_topics(topic, timeout=settings.kafka_request_timeout).topics[topic].partitions
            for partition in partitions:
                place = TopicPartition(topic, partition)
                low, high = watermarks(consumer, place, settings.kafka_request_timeout)
                yield from _range(consumer, settings, place, low, high)
        except KafkaException as error:
            raise _unanswered(settings, error) from error


def watermarks(consumer: Consumer, place: TopicPartition, seconds: float) -> tuple[int, int]:
    """First and next offset of a partition; asks again while its leader is on the move. Raises KafkaException."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return consumer.get_watermark_offsets(place, timeout=seconds)
        except KafkaException as error:
            if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                raise
        time.sleep(MOVING_PAUSE)


def _of_partition(
    consumer: Consumer, settings: Settings, place: TopicPartition, letters: list[DeadLetter]
) -> Iterator[tuple[DeadLetter, Record | None]]:
    low, high = watermarks(consumer, place, settings.kafka_request_timeout)
    there = [letter for letter in letters if low <= letter.dlq_offset < high]
    for run in _runs(there):
        wanted = {letter.dlq_offset: letter for letter in run}
        for record in _range(consumer, settings, place, run[0].dlq_offset, run[-1].dlq_offset + 1):
            letter = wanted.pop(record.offset, None)
            if letter is not None:
                yield letter, record
        yield from ((letter, None) for letter in wanted.values())
    yield from ((letter, None) for letter in letters if letter.dlq_offset not in range(low, high))


def _runs(letters: list[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Letters of one partition, split where the next is far away."""
    run: list[DeadLetter] = []
    for letter in letters:
        if run and letter.dlq_offset - run[-1].dlq_offset > FAR:
            yield run
            run = []
        run.append(letter)
    if run:
        yield run


def _range(consumer: Consumer, settings: Settings, place: TopicPartition, first: int, end: int) -> Iterator[Record]:
    """The records of a partition from offset `first` to before `end`."""
    if first >= end:
        return
    consumer.assign([TopicPartition(place.topic, place.partition, first)])
    next_offset = first
    deadline = time.monotonic() + settings.kafka_request_timeout
    while next_offset < end:
        for message in consumer.consume(BATCH, timeout=0.2):
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            record = _record(message)
            next_offset = record.offset + 1
            deadline = time.monotonic() + settings.kafka_request_timeout
            if record.offset < end:
                yield record
        # Offsets without a record (of transactions) may close the range: the position knows, messages do not.
        (position,) = consumer.position([place])
        next_offset = max(next_offset, position.offset)
        if time.monotonic() > deadline:
            message_text = f"{place.topic}[{place.partition}] gives no record at offset {next_offset}"
            raise RecordUnreadableError(message_text)
    consumer.unassign()


def _record(message: Message) -> Record:
    kind, timestamp = message.timestamp()
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp=timestamp,
        timestamp_type="LogAppendTime" if kind == 2 else "CreateTime",  # noqa: PLR2004 - the client's TIMESTAMP_LOG_APPEND_TIME
        key=message.key(),
        value=message.value(),
        headers=_headers(message),
    )


def _headers(message: Message) -> Headers:
    came = message.headers() or []
    pairs = came.items() if isinstance(came, dict) else came  # the client's types allow both, it gives a list
    return tuple((name, value.encode() if isinstance(value, str) else value or b"") for name, value in pairs)


@contextmanager
def _consumer(settings: Settings) -> Iterator[Consumer]:
    """A consumer that joins no group: the client only wants a name for one."""
    consumer = Consumer(
        {
            **client_config(settings),
            "group.id": f"{settings.application}.dead-letters",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 20,
        },
        logger=client_logger,
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _unanswered(settings: Settings, error: KafkaException) -> RecordUnreadableError:
    return RecordUnreadableError(
        f"Kafka at {settings.kafka_bootstrap_servers} does not give the dead letters: {reason(error)}"
    )
