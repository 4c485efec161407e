"""Delivery reports of the producer: the brokers' answer for each record, alone or in a batch.

**A success without an offset is none.** The client has several requests to a partition on their way. If the broker
refuses the first one, since the topic is new or its leader has just moved, and accepts the second, then the first one
is out of sequence when it is sent again. librdkafka takes it for a duplicate and reports a success, but the record is
not in the partition (shown with librdkafka 2.16 and Kafka 4; once in some 80 times for the first records of a topic
that was created with a hundred others). Only its offset is missing. A real duplicate may lack it too. To send it again
is right for both: the ledger handles an event once.
"""

import asyncio
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message

from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.records import RecordMetadata

NOT_STORED = KafkaError(
    KafkaError._FAIL,  # noqa: SLF001 - the client's own code for any failure
    "Kafka has acknowledged the record without its offset",
)
"""The error in place of a success without an offset. The same record may be accepted later."""
_RECORD_ERRORS = {
    KafkaError._INVALID_ARG,  # noqa: SLF001 - the client's name for its own error
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
}
"""Errors whose cause is the record, not its topic. A record of the same batch may get the error of its neighbour."""
_PERMANENT_ERRORS = _RECORD_ERRORS | {
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - as above
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - as above
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
"""Errors that the same record would get again. Any other error may be temporary.

A refused timestamp is temporary: the record has the time of its sending, so the clock is wrong, and not the record.
"""
_REQUEST_ERRORS = {KafkaError.INVALID_RECORD, KafkaError.MSG_SIZE_TOO_LARGE}
"""Errors that the brokers give to all records of a request, also to the valid ones (KIP-467)."""

DeliveryReport = tuple["asyncio.Future[RecordMetadata]", KafkaError | None, Message]
Outcomes = Sequence[ProduceError | None]
"""The outcomes of a batch's records, in their order. None: the record was acknowledged."""


class ProduceBatch:
    """Records that are queued together. The thread counts their reports. The event loop does all the rest."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        self._outcomes: list[ProduceError | None] = []
        self._rejected = 0
        self._reported = 0
        self._expected: int | None = None
        """The number of reports to expect. None: not all records are queued yet."""

    def add(self) -> None:
        """Add a record that is about to be queued."""
        self._outcomes.append(None)

    def reject(self, number: int, error: ProduceError) -> None:
        """Record that a record could not be queued."""
        self._outcomes[number] = error
        self._rejected += 1

    def close(self) -> bool:
        """Record that all other records are queued, and return True if all their reports have arrived.

        The thread may see the same at the same moment. This does no harm.
        """
        self._expected = len(self._outcomes) - self._rejected
        return self._reported == self._expected

    def report(self, number: int, error: KafkaError | None, message: Message) -> bool:
        """Record the brokers' answer for a record, and return True if it is the last one."""
        if error is not None:
            self._outcomes[number] = produce_error(message.topic() or "", error)
        elif message.offset() is None:
            self._outcomes[number] = produce_error(message.topic() or "", NOT_STORED)
        self._reported += 1
        return self._reported == self._expected

    def resolve(self) -> None:
        """Set the future's result. Runs on the event loop."""
        if not self.future.done():
            self.future.set_result(self._outcomes)


def resolve_reports(reports: list[DeliveryReport]) -> None:
    """Set the results of the futures of single records. Runs on the event loop."""
    for future, error, message in reports:
        topic = message.topic() or ""
        if future.done():
            continue
        if error is not None:
            future.set_exception(produce_error(topic, error))
        elif (offset := message.offset()) is None:
            future.set_exception(produce_error(topic, NOT_STORED))
        else:
            future.set_result(RecordMetadata(topic, message.partition() or 0, offset))


def produce_error(topic: str, error: KafkaError) -> ProduceError:
    """Return the error for a record that librdkafka or the brokers rejected."""
    code, message = error.code(), f"{topic}: {error.str()} ({error.name()})"
    if code == KafkaError.INVALID_TIMESTAMP:
        message += "; check the clock of this machine"
    return ProduceError(
        message,
        retriable=code not in _PERMANENT_ERRORS,
        rejects_record=code in _RECORD_ERRORS,
        may_be_neighbour=code in _REQUEST_ERRORS,
    )
