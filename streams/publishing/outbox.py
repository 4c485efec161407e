"""Publish in a transaction: an event goes out if and only if the sender's transaction commits."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy.orm import DeclarativeBase

from schemas import Event
from streams import tables
from streams.codec import Codec, EncodedEvent, default_codec
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

    def publish(self, event: Event, at: datetime | None = None) -> None:
        """Hand an event to the transaction; `at` (with its offset) keeps it from going out earlier.

        It is encoded here, so a bad event fails in its sender: raises what `Codec.encode` raises, and ValueError
        for an `at` without an offset.
        """
        self._session.add(OutboxRow(**outbox_row(self._codec.encode(event), at)))


def outbox_row(encoded: EncodedEvent, at: datetime | None = None) -> dict[str, object]:
    """The columns of `streams.outbox` for a record, sent not before `at`."""
    if at is not None and at.utcoffset() is None:
        message = "the time to publish at has no offset: give it a tzinfo, such as UTC"
        raise ValueError(message)
    return {
        "event_id": encoded.event_id,
        "topic": encoded.topic,
        "key": encoded.key,
        "value": encoded.value,
        "headers": headers_to_json(encoded.headers),
        "due_at": at,
    }


def headers_to_json(headers: Headers) -> list[list[str]]:
    """Headers for a JSON column: ``[[name, base64 of the value], …]``, in their order."""
    return [[name, base64.b64encode(value).decode()] for name, value in headers]


def headers_from_json(stored: Sequence[Sequence[str]]) -> Headers:
    """Headers as `headers_to_json` wrote them. Raises ValueError for anything else."""
    try:
        return tuple((name, base64.b64decode(value, validate=True)) for name, value in stored)
    except (TypeError, ValueError) as error:
        message = "not headers: a list of [name, base64] is expected"
        raise ValueError(message) from error
