"""The delivery reports of the producer: the outcomes of many events, and the end of an event's span."""

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.headers import Headers
from streams.observability.tracing import Span
from streams.observability.tracing.span import OFFSET, PARTITION
from streams.transport.kafka.delivery_reports import NOT_STORED

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


def send_again(client: Producer, headers: Headers, message: Message, report: Report) -> None:
    """Send a record again that is reported as acknowledged, but without an offset. It may not be in its partition.

    `streams.transport.kafka.delivery_reports` says why. It comes after the records that were sent meanwhile. If its
    second report has no offset either, that is an error.

    Args:
        client: The client.
        headers: The headers of the record: the client does not keep them.
        message: The record as the client has kept it.
        report: Gets the second report.
    """

    def stored(error: KafkaError | None, message: Message) -> None:
        if error is None and message.offset() is None:
            error = NOT_STORED
        report(error, message)

    try:
        client.produce(
            message.topic() or "",
            message.value(),
            message.key(),
            partition=message.partition() or 0,
            headers=list(headers),
            on_delivery=stored,
        )
    except (BufferError, KafkaException):
        stored(None, message)


class Progress:
    """The outcomes of one `publish_many`. Any thread that polls may call `report`, also two at once."""

    def __init__(self, expires_at: datetime | None = None) -> None:
        self._lock = threading.Lock()
        self.expires_at = expires_at
        """The expiry time of all its events."""
        self.sent = 0
        self.acknowledged = 0
        self.failed = 0
        self.failure: tuple[KafkaError, str] | None = None
        """The first failure and its topic."""
        self.not_stored: deque[Message] = deque()
        """Records whose report has no offset. They are in flight until they were sent again."""

    @property
    def in_flight(self) -> int:
        """The number of events whose report is outstanding."""
        return self.sent - self.acknowledged - self.failed

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Count a delivery report."""
        if error is None and message.offset() is None:
            self.not_stored.append(message)
            return
        with self._lock:
            if error is None:
                self.acknowledged += 1
                return
            self.failed += 1
            self.failure = self.failure or (error, message.topic() or "")
