"""Rebuilds the index of dead letters from the DLQ topics. Their headers have all its columns except the replays."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

from sqlalchemy import Connection, or_, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert

from streams import headers
from streams.codec import Codec, DecodeError
from streams.database.tables import dead_letters
from streams.delivery.delivery import INT4, INT8, header_number
from streams.delivery.ledger.columns import storable
from streams.operations.dead_letters.records import (
    LATEST_MS,
    NoBrokerError,
    RecordUnreadableError,
    partition_ends,
    read_topic,
)
from streams.settings import Settings
from streams.topics import Catalogue, Topic
from streams.transport.kafka.records import Record

BATCH = 500
UNKNOWN_TIME = datetime.fromtimestamp(0, tz=UTC)

_HIGHEST = text(
    """
    select dlq_partition, max(dlq_offset) as known from streams.dead_letters where dlq_topic = :dlq
    group by dlq_partition
    """
)
"""Read before the ends of the partitions: a row that exists then has a record, or its topic was created again."""
_DELETE_WITHOUT_RECORD = text(
    """
    delete from streams.dead_letters
    where dlq_topic = :dlq and dlq_partition = :partition and dlq_offset between :end and :known
        and died_at < statement_timestamp() - interval '1 minute'
    returning id
    """
)
"""A row that is younger may be of a record that came after the end was read."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild changed."""

    added: int
    """Rows that are new, or that now describe another record with the same id."""
    removed: int
    """Rows whose record does not exist: the DLQ topic was created again."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """DLQ → why it cannot be read. Its rows are unchanged."""


def rebuild(connection: Connection, settings: Settings, catalogue: Catalogue, codec: Codec) -> Rebuilt:
    """Make the index agree with the records of the DLQs.

    Rows of records that retention has deleted stay. So do all rows of a DLQ that cannot be read, or is not on Kafka:
    what cannot be seen may be there. The topics do not know about replays, so an added row counts as not replayed. If
    the letter was replayed, the ledger prevents a second replay.

    Args:
        connection: The index's database, in a transaction.
        settings: The connection settings of Kafka.
        catalogue: The topics and their DLQs.
        codec: Decodes the events, to find their tenants.

    Raises:
        NoBrokerError: No broker answers.
    """
    added = removed = 0
    left_out: dict[str, str] = {}
    for topic in catalogue:
        dlq = catalogue.dlq(topic.name)
        try:
            with connection.begin_nested():
                done = _rebuild_topic(connection, settings, topic, dlq, codec)
        except NoBrokerError:
            raise
        except RecordUnreadableError as error:
            left_out[dlq] = str(error)
        else:
            added, removed = added + done.added, removed + done.removed
    return Rebuilt(added, removed, left_out)


def _rebuild_topic(connection: Connection, settings: Settings, topic: Topic, dlq: str, codec: Codec) -> Rebuilt:
    added = removed = 0
    known = connection.execute(_HIGHEST, {"dlq": dlq}).all()
    ends = partition_ends(settings, dlq) if known else {}
    if known and not ends:
        message = f"{dlq} is not on Kafka, or this account may not see it"
        raise RecordUnreadableError(message)
    for row in known:
        values = {
            "dlq": dlq,
            "partition": row.dlq_partition,
            "end": ends.get(row.dlq_partition, 0),
            "known": row.known,
        }
        removed += len(connection.execute(_DELETE_WITHOUT_RECORD, values).all())
    rows = (
        {**index_row(record, topic.name), "tenant_id": _tenant(codec, topic, record)}
        for record in read_topic(settings, dlq)
    )
    for batch in _batches(rows):
        added += len(connection.execute(_upsert(), batch).all())
    return Rebuilt(added, removed)


def index_row(record: Record, topic: str) -> dict[str, object]:
    """Return the index's row for a record of a topic's DLQ.

    Anyone who may write to the DLQ chooses the headers. Those that are missing, or that no column could hold, give
    default values: one record must not prevent the rebuild.
    """
    died_at = _time(headers.last_int(record.headers, headers.DLQ_DIED_AT)) or _time(record.timestamp) or UNKNOWN_TIME
    return {
        "id": f"{record.topic}:{record.partition}:{record.offset}",
        "dlq_topic": record.topic,
        "dlq_partition": record.partition,
        "dlq_offset": record.offset,
        "topic": _text(record, headers.DLQ_TOPIC) or topic,
        "partition": _number(record, headers.DLQ_PARTITION, INT4, -1),
        "offset": _number(record, headers.DLQ_OFFSET, INT8, -1),
        "event_id": _uuid(headers.last_text(record.headers, headers.DLQ_EVENT_ID)),
        "handler": _text(record, headers.DLQ_HANDLER),
        "reason": _text(record, headers.DLQ_REASON) or "unknown",
        "error_type": _text(record, headers.DLQ_EXCEPTION_CLASS) or "",
        "error_message": _text(record, headers.DLQ_MESSAGE) or "",
        "attempts": _number(record, headers.DLQ_DELIVERY_COUNT, INT4, 0),
        "first_failed_at": _time(headers.last_int(record.headers, headers.DLQ_FIRST_FAILED_AT)) or died_at,
        "died_at": died_at,
    }


def _upsert() -> ReturningInsert[tuple[str]]:
    """Insert rows. A row that exists is replaced if it describes another record."""
    statement = insert(dead_letters)
    new, old = statement.excluded, dead_letters.c
    identity = ("topic", "partition", "offset", "event_id", "handler", "died_at")
    replaced = [column.name for column in dead_letters.c if column.name not in {"id", "replayed_at"}]
    return statement.on_conflict_do_update(
        index_elements=[old.id],
        set_={**{name: new[name] for name in replaced}, "replayed_at": None},
        where=or_(*(old[name].is_distinct_from(new[name]) for name in identity)),
    ).returning(old.id)


def _text(record: Record, name: str) -> str | None:
    return storable(headers.last_text(record.headers, name))


def _number(record: Record, name: str, limit: int, default: int) -> int:
    found = header_number(record, name, limit)
    return default if found is None else found


def _tenant(codec: Codec, topic: Topic, record: Record) -> str | None:
    """Return the tenant, the only column without a header. None if the event cannot be decoded."""
    try:
        return storable(codec.decode(topic.name, record.value).tenant_id)
    except DecodeError:
        return None


def _time(milliseconds: int | None) -> datetime | None:
    """Return a time. None: there is none, or it is out of the range of a database column."""
    if milliseconds is None or not 0 <= milliseconds <= LATEST_MS:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _uuid(value: str | None) -> UUID | None:
    try:
        return None if value is None else UUID(value)
    except ValueError:
        return None


def _batches(rows: Iterable[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch
