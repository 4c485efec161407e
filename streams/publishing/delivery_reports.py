"""The delivery reports of the producer: the outcomes of many events, and the end of an event's span."""

import threading
from collections.abc import Callable

from confluent_kafka import KafkaError, Message

from streams.observability.tracing import Span
from streams.observability.tracing.span import OFFSET, PARTITION

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
