"""Finds the trace of an event: its id is in the header `traceparent` of the record."""

from uuid import UUID

from sqlalchemy import Connection, select

from schemas.event import event_time
from streams import headers
from streams.database.tables import executions
from streams.observability.tracing import trace_id_of
from streams.operations.dead_letters.records import RecordUnreadableError, read_event_record
from streams.settings import Settings
from streams.transport.kafka.records import Record

LONGEST_WAIT = 3.0
"""Seconds. The ledger's answer must not wait long for Kafka."""


def trace_fields(settings: Settings, record: Record | None) -> dict[str, object]:
    """Return `trace_id`, and `trace_url` by the template of STREAMS_TRACE_URL, of a record; each may be None."""
    trace_id = None if record is None else trace_id_of(headers.last(record.headers, headers.TRACEPARENT))
    return {"trace_id": trace_id, "trace_url": settings.trace_link(trace_id)}


def execution_traces(settings: Settings, connection: Connection, event_id: UUID) -> dict[str, dict[str, object]]:
    """Return `trace_fields` of an event's executions by handler. The ledger has no trace, so the records are read.

    The fields are None if Kafka does not answer soon, or no longer has the record.

    Args:
        settings: The brokers, and the template of links.
        connection: The ledger's database.
        event_id: The event's id.
    """
    made_at, columns = event_time(event_id), executions.c
    if made_at is None:
        return {}
    rows = connection.execute(
        select(columns.handler, columns.topic, columns.partition, columns.offset).where(
            columns.day == made_at.date(), columns.event_id == event_id
        )
    ).all()
    quick = settings.model_copy(update={"kafka_request_timeout": min(LONGEST_WAIT, settings.kafka_request_timeout)})
    places = {(topic, partition, offset) for _, topic, partition, offset in rows}
    records = {place: _record(quick, *place, event_id) for place in places}
    return {
        handler: trace_fields(settings, records[topic, partition, offset]) for handler, topic, partition, offset in rows
    }


def _record(settings: Settings, topic: str, partition: int, offset: int, event_id: UUID) -> Record | None:
    """Return the event's record. None: it cannot be read, or another one is there: the topic was created again."""
    try:
        record = read_event_record(settings, topic, partition, offset)
    except RecordUnreadableError:
        return None
    if record is None or headers.last_text(record.headers, headers.CE_ID) != str(event_id):
        return None
    return record
