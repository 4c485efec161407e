"""The delivery reports of the producer: the outcomes of many events, and the end of an event's span."""

import threading
from collections.abc import Callable
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.headers import Headers
from streams.observability.tracing import Span
from streams.observability.tracing.span import OFFSET, PARTITION

NOT_STORED = "Kafka has acknowledged a record without its offset"
Report = Callable[[KafkaError | None, Message], None]


def ending(span: Span, report: Report) -> Report:
    """Return a callback that ends the span of an event when its delivery report arrives."""

    def end(error: KafkaError | None, message: Message) -> None:
        if error is None:
            span.end(attributes={PARTITION: str(message.partition() or 0), OFFSET: message.offset() or 0})
        else:
            span.end(error_type=error.name())
        report(error, message)

    return end


def storing(client: Producer, headers: Headers, report: Report) -> Report:
    """Return a callback that passes on the report of a record, or sends the record again if its report has no offset.

    Such a record may not be in its partition: see `streams.transport.kafka.delivery_reports`. It comes after the
    records that were sent meanwhile. The client keeps all of the record but its headers.
    """
    return partial(_report_or_resend, client, headers, report)


def _report_or_resend(
    client: Producer, headers: Headers, report: Report, error: KafkaError | None, message: Message
) -> None:
    if error is not None or message.offset() is not None:
        report(error, message)
        return
    try:
        client.produce(
            message.topic() or "",
            message.value(),
            message.key(),
            partition=message.partition() or 0,
            headers=list(headers),
            on_delivery=partial(_report_stored, report),
        )
    except (BufferError, KafkaException):
        _report_stored(report, None, message)


def _report_stored(report: Report, error: KafkaError | None, message: Message) -> None:
    if error is None and message.offset() is None:
        error = KafkaError(KafkaError._FAIL, NOT_STORED)  # noqa: SLF001 - the client's own code for any failure
    report(error, message)


class Progress:
    """The outcomes of one `publish_many`. Any thread that polls may call `report`, also two at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent = 0
        self.acknowledged = 0
        self.failed = 0
        self.failure: tuple[KafkaError, str] | None = None
        """The first failure and its topic."""

    @property
    def in_flight(self) -> int:
        """The number of events whose report is outstanding."""
        return self.sent - self.acknowledged - self.failed

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Count a delivery report."""
        with self._lock:
            if error is None:
                self.acknowledged += 1
                return
            self.failed += 1
            self.failure = self.failure or (error, message.topic() or "")
