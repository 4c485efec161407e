"""Dead letters: the record for the DLQ, and its row in the index. Only a value that Kafka rejects needs I/O."""

from dataclasses import dataclass, replace

from streams import headers
from streams.codec import Codec
from streams.delivery.dead_letter import DeadLetterInfo, fingerprint
from streams.delivery.delivery import Delivery, at_ms, origin_of
from streams.delivery.errors import Reason
from streams.delivery.ledger.columns import storable
from streams.delivery.settlement.dead_letters.dead_value import DeadValue, allowed_value
from streams.delivery.settlement.dead_letters.stored_value import store_value
from streams.delivery.settlement.decision import Outcome
from streams.delivery.settlement.records import OutgoingRecord
from streams.delivery.settlement.reduction import COMPLETE, Form, kept_headers
from streams.observability.error_text import MESSAGE_LIMIT, STACK_LIMIT, ErrorText
from streams.observability.tracing import NO_SPAN, Span
from streams.topics import Catalogue
from streams.transport.kafka.records import Record, RecordMetadata

NO_ERROR = ErrorText("", "", "")


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Builds the dead letters of one consumer group."""

    codec: Codec
    catalogue: Catalogue
    group: str
    fallback: str
    """The topic of the catalogue whose DLQ gets the records of topics that are not in the catalogue."""

    def topic(self, topic: str) -> str:
        """Return the DLQ of a topic. It exists for any name, since the headers of a record may name any topic."""
        known = self.catalogue.find(topic)
        return self.catalogue.dlq(self.fallback if known is None else known.name)

    async def record(self, topic: str, record: Record, info: DeadLetterInfo, form: Form = COMPLETE) -> OutgoingRecord:
        """Return the record for the DLQ of a topic; its secret fields are encrypted, masked or removed.

        Args:
            topic: The topic of the event, as the record names it.
            record: The record of an event topic or a retry tier.
            info: What failed, how often, since when.
            form: What of the record it has.

        Raises:
            StorageAwayError: The value has to be stored, and the storage does not answer.
        """
        dead = allowed_value(self.codec, topic, record)
        if not form.value:
            stored = await store_value(self.codec.claims, record, dead.value, info.died_at)
            dead = DeadValue(stored, dead.protection)
        return dead_record(record, self.topic(topic), info, dead, form)


def dead_letter_info(delivery: Delivery, outcome: Outcome, group: str, span: Span = NO_SPAN) -> DeadLetterInfo:
    """Return why a delivery is dead.

    Args:
        delivery: What was attempted, or could not be.
        outcome: That of the attempt.
        group: The consumer group whose dead letter it is.
        span: The span of the settlement.
    """
    return DeadLetterInfo(
        reason=outcome.reason or Reason.EXHAUSTED,
        error=outcome.error or NO_ERROR,
        attempts=outcome.attempts,
        first_failed_at=delivery.first_failed_at or outcome.ended_at,
        died_at=outcome.ended_at,
        group=group,
        handler=delivery.handler.name,
        event_id=delivery.event.event_id,
        replays=delivery.replays,
        span=span.traceparent,
    )


def dead_record(
    record: Record,
    topic: str,
    info: DeadLetterInfo,
    kept_value: DeadValue | None = None,
    form: Form = COMPLETE,
) -> OutgoingRecord:
    """Return the record for a DLQ: key, value and headers byte for byte, and headers about the failure.

    Args:
        record: The record of an event topic or a retry tier.
        topic: The DLQ.
        info: What failed, how often, since when.
        kept_value: The value to use if the record's own value has secret fields.
        form: What of the record it has.
    """
    dead = kept_value or DeadValue(record.value)
    origin = origin_of(record)
    if record.headers_error is not None:
        form = replace(form, headers=False)
    message = headers.text(info.error.message, MESSAGE_LIMIT)
    stack = headers.text(info.error.stack, STACK_LIMIT)
    kind = headers.text(info.error.type_name)
    own: list[tuple[str, bytes]] = [
        (headers.DLQ_TOPIC, headers.text(origin.topic)),
        (headers.DLQ_PARTITION, headers.decimal(origin.partition)),
        (headers.DLQ_OFFSET, headers.decimal(origin.offset)),
        (headers.DLQ_GROUP, headers.text(info.group)),
        (headers.DLQ_DELIVERY_COUNT, headers.decimal(info.attempts)),
        (headers.DLQ_MESSAGE, message),
        (headers.DLQ_EXCEPTION_CLASS, kind),
        (headers.DLQ_EXCEPTION_STACKTRACE, stack),
        (headers.DLQ_REASON, headers.text(info.reason)),
        (headers.DLQ_FIRST_FAILED_AT, headers.decimal(info.first_failed_at)),
        (headers.DLQ_DIED_AT, headers.decimal(info.died_at)),
        (headers.DLQ_REPLAY_COUNT, headers.decimal(info.replays)),
        (headers.DLQ_FINGERPRINT, headers.text(fingerprint(info))),
    ]
    if info.handler is not None:
        own.append((headers.DLQ_HANDLER, headers.text(info.handler)))
    if info.event_id is not None:
        own.append((headers.DLQ_EVENT_ID, headers.text(str(info.event_id))))
    if info.span is not None:
        own.append((headers.DLQ_SPAN, info.span))
    if form.omitted is not None:
        own.append((headers.DLQ_OMITTED, headers.text(form.omitted)))
    if dead.protection is not None:
        own.append((headers.DLQ_PROTECTION, headers.text(dead.protection)))
    spring: list[tuple[str, bytes]] = [
        (headers.SPRING_TOPIC, headers.text(origin.topic)),
        (headers.SPRING_PARTITION, headers.spring_int(origin.partition)),
        (headers.SPRING_OFFSET, headers.spring_long(origin.offset)),
        (headers.SPRING_TIMESTAMP, headers.spring_long(origin.timestamp)),
        (headers.SPRING_TIMESTAMP_TYPE, headers.text(record.timestamp_type)),
        (headers.SPRING_GROUP, headers.text(info.group)),
        (headers.SPRING_EXCEPTION_CLASS, kind),
        (headers.SPRING_EXCEPTION_MESSAGE, message),
        (headers.SPRING_EXCEPTION_STACKTRACE, stack),
    ]
    return OutgoingRecord(topic, record.key, dead.value, (*kept_headers(record.headers, form), *own, *spring))


def dead_letter_row(
    record: Record, placed: RecordMetadata, info: DeadLetterInfo, tenant_id: str | None
) -> dict[str, object]:
    """Return the columns of `streams.dead_letters` for a record that is in its DLQ.

    Args:
        record: The record of an event topic or a retry tier.
        placed: The position of its dead letter.
        info: As in the headers of the dead letter.
        tenant_id: The tenant of the event; None: unknown.
    """
    origin = origin_of(record)
    return {
        "id": f"{placed.topic}:{placed.partition}:{placed.offset}",
        "dlq_topic": placed.topic,
        "dlq_partition": placed.partition,
        "dlq_offset": placed.offset,
        "topic": storable(origin.topic),
        "partition": origin.partition,
        "offset": origin.offset,
        "event_id": info.event_id,
        "handler": storable(info.handler),
        "tenant_id": storable(tenant_id),
        "reason": info.reason,
        "error_type": storable(info.error.type_name),
        "error_message": storable(info.error.message),
        "attempts": info.attempts,
        "first_failed_at": at_ms(info.first_failed_at),
        "died_at": at_ms(info.died_at),
    }
