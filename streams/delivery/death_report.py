"""What Sentry gets about a dead letter: what failed, where, how often; never the event's fields."""

from collections.abc import Iterator

from schemas import Event
from streams import headers
from streams.delivery.dead_letter import DeadLetterInfo, fingerprint
from streams.delivery.delivery import at_ms, origin_of, read_history
from streams.observability.redaction import Redactor
from streams.observability.sentry.report import Breadcrumb, Report
from streams.transport.kafka.records import Record

LOGGER = "streams.dead_letters"
LONGEST_ATTEMPT = 1_000
"""Characters of an attempt's error. The history's own entries are shorter, but others may write the header."""
MOST_ATTEMPTS = 20


def death_report(
    record: Record, topic: str, info: DeadLetterInfo, tenant_id: str | None, event: Event | None = None
) -> Report:
    """Return the report about a dead letter. Its texts are those of the dead letter's headers, masked there.

    Args:
        record: The record of an event topic or a retry tier.
        topic: The topic of the event.
        info: What failed, how often, since when.
        tenant_id: The tenant of the event; None: unknown.
        event: The event, if the record was decoded: the history is masked once more.
    """
    origin = origin_of(record)
    redact = Redactor.of_events([] if event is None else [event])
    handler = info.handler or "no handler"
    return Report(
        fingerprint=(fingerprint(info),),
        level="error",
        logger=LOGGER,
        message=f"{handler}: dead letter ({info.reason})",
        error=info.error,
        transaction=info.handler,
        tags={
            "kind": "dead letter",
            "handler": info.handler or "",
            "topic": topic,
            "reason": info.reason,
            "group": info.group,
            "tenant_id": tenant_id or "",
        },
        details={
            "event_id": None if info.event_id is None else str(info.event_id),
            "origin_topic": origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "attempts": info.attempts,
            "replays": info.replays,
            "first_failed_at": at_ms(info.first_failed_at).isoformat(),
            "died_at": at_ms(info.died_at).isoformat(),
        },
        breadcrumbs=[*_earlier_attempts(record, redact), *_last_attempt(info)],
        traceparent=headers.last(record.headers, headers.TRACEPARENT),
        at=at_ms(info.died_at),
    )


def _earlier_attempts(record: Record, redact: Redactor) -> Iterator[Breadcrumb]:
    """Yield the failed attempts of the history header. It may be forged: whatever is no attempt is left out."""
    for entry in read_history(record.headers)[-MOST_ATTEMPTS:]:
        if not isinstance(entry, dict):
            continue
        attempt, at, error = entry.get("attempt"), entry.get("at"), entry.get("error")
        if isinstance(attempt, int) and isinstance(error, str):
            yield Breadcrumb(redact(error[:LONGEST_ATTEMPT]), attempt, at_ms(at) if isinstance(at, int) else None)


def _last_attempt(info: DeadLetterInfo) -> Iterator[Breadcrumb]:
    if info.attempts:
        yield Breadcrumb(f"{info.error.type_name}: {info.error.message}", info.attempts, at_ms(info.died_at))
