"""Rebuilds the index of dead letters from the DLQ topics. Their headers have all its columns except the replays."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from streams import headers
from streams.codec import Codec, DecodeError
from streams.database.tables import dead_letters
from streams.operations.dead_letters.records import read_topic
from streams.settings import Settings
from streams.topics import Catalogue, Topic
from streams.transport.kafka.records import Record

BATCH = 500


def rebuild(connection: Connection, settings: Settings, catalogue: Catalogue, codec: Codec) -> int:
    """Add the DLQs' records that are missing in the index, and return their number. Existing rows stay.

    The topics do not know about replays, so an added row counts as not replayed. If the letter was replayed, the
    ledger prevents a second replay.

    Args:
        connection: The index's database.
        settings: The connection settings of Kafka.
        catalogue: The topics and their DLQs.
        codec: Decodes the events, to find their tenants.
    """
    added = 0
    for topic in catalogue:
        records = read_topic(settings, catalogue.dlq(topic.name))
        rows = ({**index_row(record, topic.name), "tenant_id": _tenant(codec, topic, record)} for record in records)
        for batch in _batches(rows):
            statement = insert(dead_letters).on_conflict_do_nothing().returning(dead_letters.c.id)
            added += len(connection.execute(statement, batch).all())
    return added


def index_row(record: Record, topic: str) -> dict[str, object]:
    """Return the index's row for a record of a topic's DLQ. Missing or invalid headers give default values."""
    died_at = _time(headers.last_int(record.headers, headers.DLQ_DIED_AT)) or _time(record.timestamp)
    partition = headers.last_int(record.headers, headers.DLQ_PARTITION)
    offset = headers.last_int(record.headers, headers.DLQ_OFFSET)
    return {
        "id": f"{record.topic}:{record.partition}:{record.offset}",
        "dlq_topic": record.topic,
        "dlq_partition": record.partition,
        "dlq_offset": record.offset,
        "topic": headers.last_text(record.headers, headers.DLQ_TOPIC) or topic,
        "partition": -1 if partition is None else partition,
        "offset": -1 if offset is None else offset,
        "event_id": _uuid(headers.last_text(record.headers, headers.DLQ_EVENT_ID)),
        "handler": headers.last_text(record.headers, headers.DLQ_HANDLER),
        "reason": headers.last_text(record.headers, headers.DLQ_REASON) or "unknown",
        "error_type": headers.last_text(record.headers, headers.DLQ_EXCEPTION_CLASS) or "",
        "error_message": headers.last_text(record.headers, headers.DLQ_MESSAGE) or "",
        "attempts": headers.last_int(record.headers, headers.DLQ_DELIVERY_COUNT) or 0,
        "first_failed_at": _time(headers.last_int(record.headers, headers.DLQ_FIRST_FAILED_AT)) or died_at,
        "died_at": died_at,
    }


def _tenant(codec: Codec, topic: Topic, record: Record) -> str | None:
    """Return the tenant, the only column without a header. None if the event cannot be decoded."""
    try:
        return codec.decode(topic.name, record.value).tenant_id
    except DecodeError:
        return None


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _uuid(value: str | None) -> UUID | None:
    try:
        return None if value is None else UUID(value)
    except ValueError:
        return None


def _batches(rows: Iterable[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch
