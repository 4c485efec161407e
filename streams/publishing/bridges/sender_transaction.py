"""Chooses the transaction in which a bridge publishes: the sender's, or its own."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, inspect, select
from sqlalchemy.orm import InstanceState, Session

from schemas import Event
from streams.codec import Codec
from streams.publishing.bridges.platform_rows import with_tenant
from streams.publishing.outbox.outbox import Outbox, OutboxRow

CurrentSession = Callable[[], Session]
"""Returns the platform's session of this thread or request, such as flask-sqlalchemy's `db.session`."""

EventSource = Event | Callable[[Session], Event]
"""An event, or the function that builds it from rows, in the transaction that publishes it."""


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
        self, session: Session, source: EventSource, at: datetime | None = None, expires_at: datetime | None = None
    ) -> UUID:
        """Publish in a session's transaction, and return the event's id. Raises the same as `Outbox.publish`.

        Args:
            session: The session with the sender's transaction.
            source: The event to publish, or the function that builds it.
            at: The earliest time to send it.
            expires_at: No attempt to handle the event starts at or after this time.
        """
        event = source if isinstance(source, Event) else source(session)
        return Outbox(session, self._codec).publish(with_tenant(session, event), at, expires_at)

    def publish_separately(
        self,
        source: EventSource,
        at: datetime | None = None,
        expires_at: datetime | None = None,
        *,
        delay: timedelta = timedelta(0),
    ) -> UUID:
        """Publish in a transaction on a separate connection, and commit it at once. Returns the event's id.

        Args:
            source: The event to publish, or the function that builds it.
            at: The earliest time to send it.
            expires_at: No attempt to handle the event starts at or after this time.
            delay: Without `at`, how long after the publishing to send it, by the database's clock.
        """
        engine = self._current().get_bind(OutboxRow).engine
        with Session(engine) as session, session.begin():
            if at is None and delay:
                at = session.execute(select(func.clock_timestamp())).scalar_one() + delay
            return self.publish_within(session, source, at, expires_at)
