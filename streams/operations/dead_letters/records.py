"""Reads the records of dead letters from Kafka."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
_NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}  # noqa: SLF001 - the client's own code
"""Any other error of a topic says nothing about whether it exists."""


class RecordUnreadableError(Exception):
    """A dead letter's record, its partition or its DLQ cannot be read from Kafka. The message is one line."""


class NoBrokerError(RecordUnreadableError):
    """No broker answers, so no dead letter can be read."""


def read_record(settings: Settings, letter: DeadLetter) -> Record:
    """Return the record of one dead letter. Raises RecordUnreadableError."""
    for _, record in read_records(settings, [letter]):
        if isinstance(record, RecordUnreadableError):
            raise record
        if record is not None:
            return record
    message = f"{letter.id} is no longer on Kafka: its topic's retention has deleted it"
    raise RecordUnreadableError(message)


def read_records(
    settings: Settings, letters: Sequence[DeadLetter]
) -> Iterator[tuple[DeadLetter, Record | RecordUnreadableError | None]]:
    """Yield the records of dead letters by partition and offset, with limited use of memory.

    None means that Kafka no longer has the record. An error takes the place of each record that cannot be read; those
    of other partitions follow. Raises NoBrokerError.
    """
    with _reader(settings) as reader:
        ordered = sorted(letters, key=lambda letter: (letter.dlq_topic, letter.dlq_partition, letter.dlq_offset))
        for (topic, partition), group in groupby(ordered, key=lambda letter: (letter.dlq_topic, letter.dlq_partition)):
            waiting = {letter.id: letter for letter in group}
            try:
                for letter, record in _of_partition(reader, TopicPartition(topic, partition), list(waiting.values())):
                    del waiting[letter.id]
                    yield letter, record
            except NoBrokerError:
                raise
            except RecordUnreadableError as error:
                yield from ((letter, error) for letter in waiting.values())


def read_topic(settings: Settings, topic: str) -> Iterator[Record]:
    """Yield all current records of a DLQ topic, by partition. Nothing if there is no such topic.

    Raises RecordUnreadableError.
    """
    with _reader(settings) as reader:
        for number, leader in reader.leaders(topic).items():
            partition = TopicPartition(topic, number)
            yield from reader.range(partition, *reader.watermarks(partition, leader))


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
    """Return the next offset of each partition of a DLQ topic; empty if there is no such topic.

    Raises RecordUnreadableError.
    """
    with _reader(settings) as reader:
        leaders = reader.leaders(topic)
        return {number: reader.watermarks(TopicPartition(topic, number), leaders[number])[1] for number in leaders}


@dataclass(frozen=True, slots=True)
class _Reader:
    """A consumer that joins no group. Its methods raise no Kafka errors but RecordUnreadableError."""

    consumer: Consumer
    settings: Settings
    last: LastConnectionError

    def leaders(self, topic: str) -> dict[int, int]:
        """Return the leader of each partition of a DLQ, -1 for one without; empty if there is no such topic.

        Raises RecordUnreadableError, NoBrokerError.
        """
        with self._errors(topic, NoBrokerError):
            found = self.consumer.list_topics(topic, timeout=self.settings.kafka_request_timeout).topics.get(topic)
        # The client does not raise the error of one topic: it returns the topic with the error and no partitions.
        if found is None or (found.error is not None and found.error.code() in _NO_TOPIC):
            return {}
        if found.error is not None:
            message = f"Kafka does not describe {topic}: {found.error.str()}"
            raise RecordUnreadableError(message)
        return {number: partition.leader for number, partition in found.partitions.items()}

    def watermarks(self, partition: TopicPartition, leader: int) -> tuple[int, int]:
        """Return the first and the next offset of a partition. Raises RecordUnreadableError."""
        place = f"{partition.topic}[{partition.partition}]"
        if leader < 0:  # the client would wait for one until its time is up
            message = f"{place} has no leader now"
            raise RecordUnreadableError(message)
        with self._errors(place):
            return watermarks(self.consumer, partition, self.settings.kafka_request_timeout)

    def range(self, partition: TopicPartition, first: int, end: int) -> Iterator[Record]:
        """Yield the records of a partition from offset `first` to before `end`. Raises RecordUnreadableError."""
        if first >= end:
            return
        place = f"{partition.topic}[{partition.partition}]"
        next_offset = first
        deadline = time.monotonic() + self.settings.kafka_request_timeout
        with self._errors(place):
            self.consumer.assign([TopicPartition(partition.topic, partition.partition, first)])
            while next_offset < end:
                for message in self.consumer.consume(BATCH, timeout=0.2):
                    error = message.error()
                    if error is not None:
                        raise KafkaException(error)
                    record = to_record(message)
                    next_offset = record.offset + 1
                    deadline = time.monotonic() + self.settings.kafka_request_timeout
                    if record.offset < end:
                        yield record
                # Offsets without a record (transactions) may end the range: only the position shows them.
                (position,) = self.consumer.position([partition])
                next_offset = max(next_offset, position.offset)
                if time.monotonic() > deadline:
                    message_text = f"{place} returns no record at offset {next_offset}"
                    raise RecordUnreadableError(message_text)
            self.consumer.unassign()

    @contextmanager
    def _errors(self, place: str, kind: type[RecordUnreadableError] = RecordUnreadableError) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            self.consumer.poll(0)  # calls `error_cb`
            address, why = self.settings.kafka_bootstrap_servers, f"{reason(error)}{self.last}"
            message = f"Kafka at {address} does not return the dead letters of {place}: {why}"
            raise kind(message) from error


def _of_partition(
    reader: _Reader, partition: TopicPartition, letters: list[DeadLetter]
) -> Iterator[tuple[DeadLetter, Record | None]]:
    leaders = reader.leaders(partition.topic)
    if not leaders:
        message = f"{partition.topic} is not on Kafka, or this account may not see it"
        raise RecordUnreadableError(message)
    leader = leaders.get(partition.partition)
    low, high = (0, 0) if leader is None else reader.watermarks(partition, leader)
    existing = [letter for letter in letters if low <= letter.dlq_offset < high]
    for run in _runs(existing):
        wanted = {letter.dlq_offset: letter for letter in run}
        for record in reader.range(partition, run[0].dlq_offset, run[-1].dlq_offset + 1):
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


@contextmanager
def _reader(settings: Settings) -> Iterator[_Reader]:
    """Yield a reader. The client only requires a group's name."""
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
        yield _Reader(consumer, settings, last)
    finally:
        consumer.close()
