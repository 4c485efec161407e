"""Publish in a transaction: an event goes out if and only if the sender's transaction commits."""

import base64
from binascii import a2b_base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from sqlalchemy.orm import DeclarativeBase

from schemas import Event
from schemas.event import with_time
from streams.codec import Codec, EncodedEvent, default_codec
from streams.database import tables
from streams.headers import Headers


class _Rows(DeclarativeBase):
    metadata = tables.metadata


class OutboxRow(_Rows):
    """A record that waits for the relay."""

    __table__ = tables.outbox


class Session(Protocol):
    """What the outbox needs of a session: SQLAlchemy's, sync or async, scoped or not, all have it."""

    def add(self, instance: object) -> None:
        """Write the object with the session's next flush."""


class Outbox:
    """Publishes within the transaction of a SQLAlchemy session, sync or async.

    with Session(engine) as session, session.begin():
        session.delete(document)
        Outbox(session).publish(DocumentDeleted(document_id=document.id, …))

    The row is written with the session's next flush, at the latest by its commit, so nothing is to be awaited.
    A key's events go out in the order of publishing where the sender locked the entity's row before.
    """

    def __init__(self, session: Session, codec: Codec | None = None) -> None:
        """`codec`: None takes that of the environment's settings."""
        self._session = session
        self._codec = codec or default_codec()

    def publish(self, event: Event, at: datetime | None = None, expires_at: datetime | None = None) -> UUID:
        """Hand an event to the transaction; returns the event id under which it travels.

        `at` keeps it from going out earlier, and may be any distance away; until it has gone out
        `streams scheduled cancel` takes it back. From `expires_at` on no attempt of it begins any more. Both have
        their offset. An event for a time to come travels under an id of that time: see `dated`.

        It is encoded here, so a bad event fails in its sender: raises what `Codec.encode` raises, and ValueError
        for an `at` without an offset. A large value is in the storage when this returns, before the commit: what a
        rollback leaves there is removed by its age.
        """
        if at is not None:
            event = dated(event, at, datetime.now(tz=UTC))
        encoded = self._codec.encode(event, expires_at)
        self._session.add(OutboxRow(**outbox_row(encoded, at)))
        return encoded.event_id


def dated(event: Event, at: datetime, now: datetime) -> Event:
    """The event as it travels if it is to go out at a time: one that is to come becomes the time of its id.

    The ledger's day is that of the id: by its old one an event that waited for long would be older than the ledger.
    The id's other bits stay, so the same event for the same time has the same id. Raises ValueError for an `at`
    without an offset.
    """
    _check_offset(at)
    if at <= now:
        return event
    return event.model_copy(update={"event_id": with_time(event.event_id, round(at.timestamp() * 1000))})


def outbox_row(encoded: EncodedEvent, at: datetime | None = None) -> dict[str, object]:
    """The columns of `streams.outbox` for a record, sent not before `at`."""
    if at is not None:
        _check_offset(at)
    tenant_id = encoded.tenant_id
    return {
        "event_id": encoded.event_id,
        "tenant_id": None if tenant_id is None else tenant_id.replace("\x00", "\ufffd"),  # no text holds a NUL
        "topic": encoded.topic,
        "key": encoded.key,
        "value": encoded.value,
        "headers": headers_to_json(encoded.headers),
        "due_at": at,
    }


def _check_offset(at: datetime) -> None:
    if at.utcoffset() is None:
        message = "the time to publish at has no offset: give it a tzinfo, such as UTC"
        raise ValueError(message)


def headers_to_json(headers: Headers) -> list[list[str]]:
    """Headers for a JSON column: ``[[name, base64 of the value], …]``, in their order."""
    return [[name, base64.b64encode(value).decode()] for name, value in headers]


def headers_from_json(stored: Sequence[Sequence[str]]) -> Headers:
    """Headers as `headers_to_json` wrote them. Raises ValueError for anything else."""
    try:
        # `b64decode` takes three times as long to call this.
        return tuple([(name, a2b_base64(value, strict_mode=True)) for name, value in stored])
    except (TypeError, ValueError) as error:
        message = "not headers: a list of [name, base64] is expected"
        raise ValueError(message) from error
