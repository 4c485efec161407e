"""What a span is, without a library: its values, and the interfaces of a running span and of a tracer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from streams.observability.error_text import type_name

Kind = Literal["producer", "consumer", "client", "internal"]
Attributes = Mapping[str, str | int | float]

# OpenTelemetry's semantic conventions for messaging.
SYSTEM: Final = "messaging.system"
OPERATION: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
PARTITION: Final = "messaging.destination.partition.id"
OFFSET: Final = "messaging.kafka.offset"
GROUP: Final = "messaging.consumer.group.name"
MESSAGE_ID: Final = "messaging.message.id"
BATCH_SIZE: Final = "messaging.batch.message_count"
ERROR_TYPE: Final = "error.type"
# The pipeline's own.
HANDLER: Final = "streams.handler"
ATTEMPT: Final = "streams.attempt"
OUTCOME: Final = "streams.outcome"
WAITED: Final = "streams.waited_seconds"
"""For an event for later and for a schedule's event: the seconds since it was published, or since its slot."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another span: its `traceparent`, and what the link says."""

    traceparent: bytes
    attributes: Attributes = field(default_factory=dict)


class Span:
    """A span that records nothing. A tracer returns spans that do."""

    traceparent: bytes | None = None
    """The header for what this span causes. None: this span has no context of its own."""
    is_recorded: bool = False

    def current(self) -> AbstractContextManager[None]:
        """Return the context in which this span is the parent of new ones. An exception ends the span."""
        return nullcontext()

    @contextmanager
    def block(self) -> Iterator[None]:
        """Return the context of a span that lasts as long as a block. An exception is its failure."""
        with self.current():
            try:
                yield
            except Exception as error:
                self.end(error_type=type_name(error))
                raise
        self.end()

    def end(
        self, outcome: str | None = None, error_type: str | None = None, attributes: Attributes | None = None
    ) -> None:
        """End the span. A second call does nothing.

        Args:
            outcome: The attribute `streams.outcome`.
            error_type: The attribute `error.type`. The span then has failed.
            attributes: Further attributes.
        """


NO_SPAN: Final = Span()


@dataclass(frozen=True, slots=True)
class NewSpan:
    """The values of a span that begins."""

    name: str
    kind: Kind
    attributes: Attributes
    parent: bytes | None = None
    """The `traceparent` of its parent. None: the current span of this task, or else a new trace."""
    links: Sequence[Link] = ()


class Tracer(Protocol):
    """Starts spans."""

    @property
    def follows_parent(self) -> bool:
        """Whether nothing is recorded below a span that was not sampled."""

    def start(self, new: NewSpan) -> Span:
        """Start a span now."""

    def is_recording(self) -> bool:
        """Return whether a span of this task is recorded now."""

    def current_ids(self) -> tuple[str, str] | None:
        """Return trace id and span id of this task's current span. None: none is recorded."""


def send_span(topic: str, message_id: str, parent: bytes | None) -> NewSpan:
    """Return the span of a published event.

    Args:
        topic: The topic's name.
        message_id: The event's id.
        parent: The `traceparent` of what publishes it. None: the current span, or else a new trace.
    """
    attributes = {
        SYSTEM: "kafka",
        OPERATION: "send",
        OPERATION_TYPE: "send",
        DESTINATION: topic,
        MESSAGE_ID: message_id,
    }
    return NewSpan(f"send {topic}", "producer", attributes, parent)
