"""Publishes in a transaction: an event is sent if and only if the sender's transaction commits."""

import base64
import json
from binascii import a2b_base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.orm import DeclarativeBase

from schemas import Event
from schemas.event import with_time
from streams.codec import Codec, EncodedEvent, default_codec
from streams.database import tables
from streams.headers import CE_WAITING_SINCE, Headers, time_text
from streams.observability.tracing.tracer import bound_waiting_since


class _Rows(DeclarativeBase):
    metadata = tables.metadata


class OutboxRow(_Rows):
    """A record that waits for the relay."""

    __table__ = tables.outbox


class Session(Protocol):
    """The part of a session that the outbox needs. All SQLAlchemy sessions have it: sync, async and scoped."""

    def add(self, instance: object) -> None:
        """Write the object with the session's next flush."""


class Outbox:
    """Publishes within the transaction of a SQLAlchemy session, sync or async.

    with Session(engine) as session, session.begin():
        session.delete(document)
        Outbox(session).publish(DocumentDeleted(document_id=document.id, …))

    The session writes the row with its next flush, at the latest with its commit. So there is nothing to await.
    Events of one key are sent in the order of publishing if each sender locked the entity's row before.
    """

    def __init__(self, session: Session, codec: Codec | None = None) -> None:
        """Create the outbox of a session. `codec`: None takes the one of the environment's settings."""
        self._session = session
        self._codec = codec or default_codec()

    def publish(self, event: Event, at: datetime | None = None, expires_at: datetime | None = None) -> UUID:
        """Add an event to the transaction and return its final event id.

        The event is encoded here, so a bad event fails in its sender. A large value is in the storage when this
        returns, before the commit. If the transaction rolls back, the value is deleted by its age later.

        Args:
            event: The event to publish.
            at: The earliest time to send it; it may be any time ahead. Until the event is sent,
                `streams scheduled cancel` can withdraw it. Must have a UTC offset. The event's id then contains this
                time: see `with_scheduled_id`.
            expires_at: No attempt to handle the event starts at or after this time. Must have a UTC offset.

        Raises:
            ValueError: `at` has no UTC offset.
            Exception: Any error that `Codec.encode` raises.
        """
        if at is not None:
            event = with_scheduled_id(event, at, datetime.now(tz=UTC))
        encoded = self._codec.encode(event, expires_at)
        if encoded.span is not None and encoded.span.is_recorded:
            _note_wait(encoded, at)
        self._session.add(OutboxRow(**outbox_row(encoded, at)))
        if encoded.span is not None:
            encoded.span.end()
        return encoded.event_id


def with_scheduled_id(event: Event, at: datetime, now: datetime) -> Event:
    """Return the event as it is sent at a time. If that time is in the future, it becomes the time in the event's id.

    The ledger takes a row's day from the event id. With its old id, an event that waits for long would be older than
    the ledger's rows. The id's other bits stay, so the same event for the same time has the same id.

    Args:
        event: The event to publish.
        at: The earliest time to send it.
        now: The current time.

    Raises:
        ValueError: `at` has no UTC offset.
    """
    _check_offset(at)
    if at <= now:
        return event
    return event.model_copy(update={"event_id": with_time(event.event_id, round(at.timestamp() * 1000))})


def outbox_row(encoded: EncodedEvent, at: datetime | None = None) -> dict[str, object]:
    """Return the columns of `streams.outbox` for a record that is sent no earlier than `at`."""
    if at is not None:
        _check_offset(at)
    tenant_id = encoded.tenant_id
    return {
        "event_id": encoded.event_id,
        "tenant_id": None if tenant_id is None else tenant_id.replace("\x00", "\ufffd"),  # PostgreSQL text has no NUL
        "topic": encoded.topic,
        "key": encoded.key,
        "value": encoded.value,
        "headers": headers_to_json(encoded.headers),
        "due_at": at,
    }


def _note_wait(encoded: EncodedEvent, at: datetime | None) -> None:
    """Add the header from which the span of the first attempt tells how long the event waited."""
    now = datetime.now(tz=UTC)
    since = bound_waiting_since() or (now if at is not None and at > now else None)
    if since is not None:
        encoded.headers = (*encoded.headers, (CE_WAITING_SINCE, time_text(since)))


def _check_offset(at: datetime) -> None:
    if at.utcoffset() is None:
        message = "the time to publish at has no UTC offset: give it a tzinfo, such as UTC"
        raise ValueError(message)


def headers_to_json(headers: Headers) -> list[list[str | None]]:
    """Return headers for a JSON column: ``[[name, base64 of the value or null], …]``, in their order."""
    return [[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers]


def headers_from_json(stored: Sequence[Sequence[Any]]) -> Headers:
    """Return the headers that `headers_to_json` wrote. Raises ValueError for any other input."""
    message = "not headers: a list of [name, base64] is expected"
    try:
        # `b64decode` wraps this function and takes three times as long.
        found = tuple([(name, None if v is None else a2b_base64(v, strict_mode=True)) for name, v in stored])
    except (TypeError, ValueError) as error:
        raise ValueError(message) from error
    if {type(stored), *map(type, stored)} != {list} or not {type(name) for name, _ in found} <= {str}:
        raise ValueError(message)
    return found


def headers_from_text(stored: str) -> Headers:
    """Return the headers in the text of a JSON column. Raises ValueError for any other text."""
    try:
        found = json.loads(stored)
    except RecursionError as error:
        message = "not headers: the JSON is nested too deeply"
        raise ValueError(message) from error
    return headers_from_json(found)
