"""Chooses the transaction in which a bridge publishes: the sender's, or its own."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Uuid, column, func, inspect, select, table
from sqlalchemy.orm import InstanceState, Session

from schemas import Event
from streams.codec import Codec
from streams.publishing.outbox.outbox import Outbox, OutboxRow

CurrentSession = Callable[[], Session]
"""Returns the platform's session of this thread or request, such as flask-sqlalchemy's `db.session`."""

_DATASETS = table("datasets", column("id", Uuid(as_uuid=False)), column("tenant_id", Uuid(as_uuid=False)))


class BridgeError(Exception):
    """A bridge cannot start, or cannot build an event from its input. The message is one line."""

    __module__ = "streams.publishing"


class SenderTransactions:
    """Writes events to the outbox, in the sender's open transaction or in a separate one."""

    def __init__(self, current: CurrentSession, codec: Codec | None = None) -> None:
        """Create it. `codec`: None takes the one of the environment's settings."""
        self._current = current
        self._codec = codec

    def session_of(self, row: object = None) -> Session | None:
        """Return the session with the sender's open transaction, or None if no transaction is open.

        This is the session of `row`, since a sender may use another session than the platform's current one. If `row`
        is not a mapped object, it is the current session. Call this before you read attributes of rows: reading opens
        a transaction.
        """
        state = inspect(row, raiseerr=False)
        session = state.session if isinstance(state, InstanceState) else self._current()
        return session if session is not None and session.in_transaction() else None

    def publish_within(
        self, session: Session, event: Event, at: datetime | None = None, expires_at: datetime | None = None
    ) -> UUID:
        """Publish in a session's transaction, and return the event's id. Raises the same as `Outbox.publish`.

        Args:
            session: The session with the sender's transaction.
            event: The event to publish.
            at: The earliest time to send it.
            expires_at: No attempt to handle the event starts at or after this time.
        """
        return Outbox(session, self._codec).publish(_with_tenant(session, event), at, expires_at)

    def publish_separately(
        self,
        event: Event,
        at: datetime | None = None,
        expires_at: datetime | None = None,
        *,
        delay: timedelta = timedelta(0),
    ) -> UUID:
        """Publish in a transaction on a separate connection, and commit it at once. Returns the event's id.

        Args:
            event: The event to publish.
            at: The earliest time to send it.
            expires_at: No attempt to handle the event starts at or after this time.
            delay: Without `at`, how long after the publishing to send it, by the database's clock.
        """
        engine = self._current().get_bind(OutboxRow).engine
        with Session(engine) as session, session.begin():
            if at is None and delay:
                at = session.execute(select(func.clock_timestamp())).scalar_one() + delay
            return self.publish_within(session, event, at, expires_at)


def _with_tenant(session: Session, event: Event) -> Event:
    """Return the event with its dataset's tenant, if it has no tenant and the dataset exists."""
    dataset_id = getattr(event, "dataset_id", None)
    if event.tenant_id is not None or dataset_id is None or not _is_uuid(dataset_id):
        return event
    tenant_id = session.execute(select(_DATASETS.c.tenant_id).where(_DATASETS.c.id == dataset_id)).scalar()
    return event if tenant_id is None else event.model_copy(update={"tenant_id": tenant_id})


def _is_uuid(value: str) -> bool:
    """Return True for a UUID. Other text would cause a database error, which aborts the sender's transaction."""
    try:
        UUID(value)
    except ValueError:
        return False
    return True
