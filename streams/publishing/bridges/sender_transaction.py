"""In which transaction a bridge writes an event: the sender's own, or one beside it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Uuid, column, func, inspect, select, table
from sqlalchemy.orm import InstanceState, Session

from schemas import Event
from streams.codec import Codec
from streams.publishing.outbox.outbox import Outbox, OutboxRow

CurrentSession = Callable[[], Session]
"""The platform's session of this thread or request, such as flask-sqlalchemy's `db.session`, which is called for it."""

_DATASETS = table("datasets", column("id", Uuid(as_uuid=False)), column("tenant_id", Uuid(as_uuid=False)))


class BridgeError(Exception):
    """A bridge cannot start, or cannot make an event of what it was given; the message is one line."""

    __module__ = "streams.publishing"


class SenderTransactions:
    """Writes events into the outbox, within the transaction that a sender has open or beside it."""

    def __init__(self, current: CurrentSession, codec: Codec | None = None) -> None:
        """`codec`: None takes that of the environment's settings."""
        self._current = current
        self._codec = codec

    def open_for(self, carrier: object = None) -> Session | None:
        """The session whose open transaction is the sender's; None: none is open.

        That of the row that the sender is about: a sender may work in another session than the platform's current one.
        The current one counts where the carrier is no row. Ask before reading attributes of rows: that opens one.
        """
        state = inspect(carrier, raiseerr=False)
        session = state.session if isinstance(state, InstanceState) else self._current()
        return session if session is not None and session.in_transaction() else None

    def within(
        self, session: Session, event: Event, at: datetime | None = None, expires_at: datetime | None = None
    ) -> UUID:
        """Publish in a session's transaction; returns what `Outbox.publish` does, and raises likewise."""
        return Outbox(session, self._codec).publish(_with_tenant(session, event), at, expires_at)

    def beside(
        self,
        event: Event,
        at: datetime | None = None,
        expires_at: datetime | None = None,
        *,
        delay: timedelta = timedelta(0),
    ) -> UUID:
        """Publish in a transaction that is committed at once, on a connection of its own.

        Without `at` it goes out after `delay`, by the database's clock.
        """
        engine = self._current().get_bind(OutboxRow).engine
        with Session(engine) as session, session.begin():
            if at is None and delay:
                at = session.execute(select(func.clock_timestamp())).scalar_one() + delay
            return self.within(session, event, at, expires_at)


def _with_tenant(session: Session, event: Event) -> Event:
    """The event with the tenant of its dataset, where it names a dataset that is there and no tenant."""
    dataset_id = getattr(event, "dataset_id", None)
    if event.tenant_id is not None or dataset_id is None or not _is_uuid(dataset_id):
        return event
    tenant_id = session.execute(select(_DATASETS.c.tenant_id).where(_DATASETS.c.id == dataset_id)).scalar()
    return event if tenant_id is None else event.model_copy(update={"tenant_id": tenant_id})


def _is_uuid(value: str) -> bool:
    """Any other text would be an error of the database, which ends the sender's transaction."""
    try:
        UUID(value)
    except ValueError:
        return False
    return True
