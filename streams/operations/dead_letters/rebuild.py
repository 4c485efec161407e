"""The index of dead letters, made anew from the DLQ topics: their headers say all that it holds but the replays."""

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
    """Add to the index what the DLQ topics hold and it lacks; returns how many. Rows that are there stay.

    A topic does not know of replays: a letter added here counts as not replayed. If it was, the ledger refuses another.
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
    """The index's row for a record of a topic's DLQ; headers that are missing or broken leave what is known."""
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
    """The one column that no header has; nothing where the event cannot be read."""
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
