"""The spans of deliveries: `process` for each attempt, `step` for long work, `settle` for an attempt that failed.

A marked field never reaches a span: it has no key, no tenant, no argument and no message of an error.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from streams import headers
from streams.delivery.delivery import Delivery
from streams.observability.tracing import NO_SPAN, Link, NewSpan, Span, Tracer
from streams.observability.tracing.span import (
    ATTEMPT,
    BATCH_SIZE,
    DESTINATION,
    ERROR_TYPE,
    GROUP,
    HANDLER,
    MESSAGE_ID,
    OFFSET,
    OPERATION,
    OPERATION_TYPE,
    PARTITION,
    SYSTEM,
    WAITED,
)
from streams.observability.tracing.traceparent import is_unsampled


class DeliverySpans:
    """Starts the spans of one consumer group. Without an exporter, the engine has none of these."""

    def __init__(self, tracer: Tracer, group: str) -> None:
        """Create them. `group` is the consumer group's name."""
        self._tracer = tracer
        self._follows_parent = tracer.follows_parent
        self._group = group

    def process(self, deliveries: Sequence[Delivery]) -> Span:
        """Start the span of an attempt, a child of its sender. A batch has a link to each of its events.

        The parent of a batch is the sender of its first event that is sampled, or else of its first event.

        Args:
            deliveries: What one call of the handler gets.
        """
        first = deliveries[0]
        if first.handler.kind != "batch":
            parent = first.record.last_header(headers.TRACEPARENT)
            if self._follows_parent and is_unsampled(parent):  # most units of a sampled pipeline end here
                return NO_SPAN
            attributes = {**self._attributes("process", first), **_waited(first)}
            return self._start(attributes, parent, tuple(_last_span(first)), first)
        parents = [delivery.record.last_header(headers.TRACEPARENT) for delivery in deliveries]
        parent = next((one for one in parents if one is not None and not is_unsampled(one)), parents[0])
        if self._follows_parent and is_unsampled(parent):
            return NO_SPAN
        attributes = {
            **_operation("process"),
            DESTINATION: first.topic.name,
            BATCH_SIZE: len(deliveries),
            GROUP: self._group,
            HANDLER: first.handler.name,
            ATTEMPT: max(delivery.run_number for delivery in deliveries),
        }
        links = [link for delivery in deliveries for link in _last_span(delivery)]
        links += (
            Link(one, _position(delivery)) for delivery, one in zip(deliveries, parents, strict=True) if one is not None
        )
        return self._start(attributes, parent, links, first)

    def step(self, attempt: Span) -> Span:
        """Start the span of a step of long work, below its attempt."""
        if not attempt.is_recorded:
            return NO_SPAN
        return self._tracer.start(NewSpan("step", "internal", {}, attempt.traceparent))

    def settle(self, delivery: Delivery, attempt: Span, error_type: str | None) -> Span:
        """Start the span of a settlement, below its attempt, or below the sender if nothing was attempted.

        Args:
            delivery: What is settled.
            attempt: The span of its attempt.
            error_type: The error of the attempt.
        """
        parent = attempt.traceparent or delivery.record.last_header(headers.TRACEPARENT)
        if self._follows_parent and is_unsampled(parent):
            return NO_SPAN
        attributes = self._attributes("settle", delivery)
        if error_type is not None:
            attributes[ERROR_TYPE] = error_type
        return self._recorded(NewSpan("settle", "client", attributes, parent))

    def _start(
        self, attributes: dict[str, str | int | float], parent: bytes | None, links: Sequence[Link], first: Delivery
    ) -> Span:
        return self._recorded(NewSpan(f"process {first.topic.name}", "consumer", attributes, parent, links))

    def _recorded(self, new: NewSpan) -> Span:
        span = self._tracer.start(new)
        return span if span.is_recorded else NO_SPAN

    def _attributes(self, operation: str, delivery: Delivery) -> dict[str, str | int | float]:
        return {
            **_operation(operation),
            DESTINATION: delivery.topic.name,
            GROUP: self._group,
            HANDLER: delivery.handler.name,
            ATTEMPT: delivery.run_number,
            **_position(delivery),
        }


def _operation(name: str) -> dict[str, str | int | float]:
    """Return what the conventions require of each span of a message. `settle` is one of their types, too."""
    return {SYSTEM: "kafka", OPERATION: name, OPERATION_TYPE: name}


def _position(delivery: Delivery) -> dict[str, str | int]:
    origin = delivery.origin
    return {MESSAGE_ID: str(delivery.event.event_id), PARTITION: str(origin.partition), OFFSET: origin.offset}


def _waited(delivery: Delivery) -> dict[str, float]:
    """Return how long an event for later, or a schedule's event, has waited for its first attempt."""
    since = headers.last_time(delivery.record.headers, headers.CE_WAITING_SINCE) if delivery.seq == 0 else None
    return {} if since is None else {WAITED: max(0.0, (datetime.now(tz=UTC) - since).total_seconds())}


def _last_span(delivery: Delivery) -> Iterator[Link]:
    """Yield the link to the attempt before, or to the death before a replay."""
    before = headers.last(delivery.record.headers, headers.LAST_SPAN)
    if before is not None:
        yield Link(before)
