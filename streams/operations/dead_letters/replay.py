"""Replay: sends a dead letter's record again to the handler that failed, and to no other.

The outbox sends the record. Its row is written in the transaction that changes the execution from `failure` to `retry`,
so either both happen or neither. A record that could not be decoded goes back to its origin topic.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from uuid import UUID

from sqlalchemy import Connection, insert, select, text

from schemas.event import event_time, new_event_id
from streams import headers
from streams.codec.encryption import KEY_SETTING
from streams.database.operator_note import NOTED
from streams.database.tables import dead_letters, executions, outbox
from streams.delivery.settlement.dead_letters.dead_value import FOR_GOOD
from streams.headers import Headers
from streams.operations.dead_letters.index import DeadLetter, DeadLetterMissingError
from streams.publishing.outbox.outbox import headers_to_json
from streams.topics import Catalogue
from streams.transport.kafka.records import Record

if TYPE_CHECKING:
    from streams.settings import PoolName

RESTART = text(
    """
    update streams.executions set status = 'retry', seq = seq + 1, attempts = 0, replays = replays + 1,
        lost_leases = 0, due_at = clock_timestamp(), completed_at = null, error = null, reason = null
    where day = :day and event_id = :event_id and handler = :handler and status = 'failure'
    returning seq, replays, pool
    """
)


class ReplayRefusedError(Exception):
    """This dead letter cannot be replayed. The message is one line with the reason."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay that will be sent when its transaction commits."""

    id: str
    event_id: UUID | None
    handler: str | None
    topic: str
    """The topic of the record: a retry tier, or the origin for a record that could not be decoded."""


@dataclass(frozen=True, slots=True)
class Restart:
    """An execution after it was restarted: the values for its next record."""

    seq: int
    replays: int
    pool: str


NOTE_REPLAY = text(
    f"update streams.dead_letters set replayed_at = clock_timestamp(), replayed_by = {NOTED} where id = :id"  # noqa: S608
)
REOPEN_SLOT = text(
    """
    update streams.slots set status = 'retry', completed_at = null, detail = null
    where event_id = :event_id and status = 'failure'
    """
)
"""A schedule's run that failed goes on. The clock then writes its outcome, as for every run."""


def replay(connection: Connection, catalogue: Catalogue, letter: DeadLetter, record: Record, *, by: str) -> Replay:
    """Write a dead letter's record to the outbox, in the caller's transaction.

    Args:
        connection: The connection of the transaction.
        catalogue: The topics and their retry tiers.
        letter: The index's row of the dead letter.
        record: The dead letter's record.
        by: Who replays it, and how; it is noted with the database's role.

    Raises:
        DeadLetterMissingError: The index no longer has the dead letter.
        ReplayRefusedError: It cannot be replayed.
    """
    done = headers.last_text(record.headers, headers.DLQ_PROTECTION)
    if done in FOR_GOOD:
        message = f"{letter.id} cannot be replayed: its secrets were {done} ({KEY_SETTING} keeps them encrypted)"
        raise ReplayRefusedError(message)
    omitted = headers.last_text(record.headers, headers.DLQ_OMITTED) or ""
    if "value" in omitted.split(",") and record.value is None:
        place = f"{letter.topic}[{letter.partition}] at offset {letter.offset}"
        message = f"{letter.id} cannot be replayed: Kafka rejected its value, which is only in the original, {place}"
        raise ReplayRefusedError(message)
    _lock_unreplayed(connection, letter)
    if letter.handler is None or letter.event_id is None:
        topic, event_id = _origin(catalogue, letter), letter.event_id
        sent = plain_headers(record)
    else:
        restart = _restart(connection, letter.event_id, letter.handler, letter)
        topic, event_id = _tier(catalogue, letter.topic, restart.pool), letter.event_id
        sent = replay_headers(record, letter, restart, due_at=_milliseconds(datetime.now(tz=UTC)))
    connection.execute(
        insert(outbox).values(
            event_id=event_id or new_event_id(),  # an undecodable record has none; this one is only for the logs
            topic=topic,
            key=record.key,
            value=record.value,
            headers=headers_to_json(sent),
        )
    )
    connection.execute(NOTE_REPLAY, {"id": letter.id, "by": by})
    return Replay(id=letter.id, event_id=letter.event_id, handler=letter.handler, topic=topic)


def plain_headers(record: Record) -> Headers:
    """Return the original headers of a dead letter's record, without those of its retries and its failure.

    The expiry is left out too: a replayed dead letter must be attempted.
    """
    return headers.without(
        record.headers, headers.DLQ_PREFIX, headers.SPRING_PREFIX, headers.STREAMS_PREFIX, headers.CE_EXPIRYTIME
    )


def replay_headers(record: Record, letter: DeadLetter, restart: Restart, due_at: int) -> Headers:
    """Return the headers of a record for one handler, with all its attempts again.

    Args:
        record: The dead letter's record.
        letter: The index's row of the dead letter.
        restart: The values of the restarted execution.
        due_at: When the next attempt may start, in ms since the epoch.
    """
    death = headers.last(record.headers, headers.DLQ_SPAN)
    return (
        *plain_headers(record),
        (headers.HANDLER, headers.text(letter.handler or "")),
        (headers.SEQ, headers.decimal(restart.seq)),
        (headers.ATTEMPT, headers.decimal(0)),
        (headers.DUE_AT, headers.decimal(due_at)),
        (headers.ORIGIN_TOPIC, headers.text(letter.topic)),
        (headers.ORIGIN_PARTITION, headers.decimal(letter.partition)),
        (headers.ORIGIN_OFFSET, headers.decimal(letter.offset)),
        (headers.ORIGIN_TIMESTAMP, headers.decimal(origin_timestamp(record))),
        (headers.REPLAYS, headers.decimal(restart.replays)),
        *(() if death is None else ((headers.LAST_SPAN, death),)),
    )


def origin_timestamp(record: Record) -> int:
    """Return when the event was first produced, in ms since the epoch: from the header, or else the record's time."""
    stored = headers.as_spring_number(headers.last(record.headers, headers.SPRING_TIMESTAMP))
    return record.timestamp if stored is None else stored


def _lock_unreplayed(connection: Connection, letter: DeadLetter) -> None:
    row = connection.execute(
        select(dead_letters.c.replayed_at).where(dead_letters.c.id == letter.id).with_for_update()
    ).one_or_none()
    if row is None:
        message = f"no dead letter {letter.id!r}: its row was removed after it was listed"
        raise DeadLetterMissingError(message)
    if row.replayed_at is not None:
        message = f"{letter.id} was already replayed, at {row.replayed_at:%Y-%m-%d %H:%M:%S %Z}"
        raise ReplayRefusedError(message)


def _restart(connection: Connection, event_id: UUID, handler: str, letter: DeadLetter) -> Restart:
    made_at = event_time(event_id)
    if made_at is None:
        message = f"{letter.id}: event id {event_id} carries no time, so its work could run twice"
        raise ReplayRefusedError(message)
    identity = {"day": made_at.date(), "event_id": event_id, "handler": handler}
    row = connection.execute(RESTART, identity).one_or_none()
    if row is not None:
        connection.execute(REOPEN_SLOT, {"event_id": event_id})
        return Restart(seq=row.seq, replays=row.replays, pool=row.pool)
    status = connection.execute(select(executions.c.status).filter_by(**identity)).scalar_one_or_none()
    if status is None:
        message = f"{letter.id}: the ledger no longer knows {handler} of event {event_id}"
    elif status == "success":
        message = f"{letter.id}: {handler} of event {event_id} has succeeded since"
    else:
        message = f"{letter.id}: {handler} of event {event_id} is in progress again, status {status}"
    raise ReplayRefusedError(message)


def _origin(catalogue: Catalogue, letter: DeadLetter) -> str:
    """Return the origin topic. Raises ReplayRefusedError if the catalogue does not have it.

    The headers of the dead letter name it, and anyone who may write to a retry tier or a DLQ chooses these. The account
    that replays may write to topics to which this sender may not.
    """
    topic = catalogue.find(letter.topic)
    if topic is None:
        message = f"{letter.id} cannot be replayed: its topic {letter.topic!r} is not in the catalogue"
        raise ReplayRefusedError(message)
    return topic.name


def _tier(catalogue: Catalogue, topic: str, pool: str) -> str:
    """Return the tier without delay of the topic's pool. A topic that left the catalogue keeps its last pool."""
    known = catalogue.find(topic)
    return catalogue.tier(cast("PoolName", pool) if known is None else known.pool, 0.0)


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
