"""A sender like the platform: its sessions, its database, and the rows that it wrote to the outbox."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, Row, select, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from schemas import Event
from streams import headers
from streams.codec import Codec, build_codec
from streams.database.tables import outbox
from streams.publishing.outbox.outbox import headers_from_json
from streams.topics import load_catalogue
from tests.integration.conftest import Stack, own_environment, settings_in
from tests.support.local_stack.databases import polling_engine


@dataclass(frozen=True)
class Waiting:
    """A row of the outbox."""

    event: Event
    event_id: str
    """The id in the row."""
    due_at: datetime | None
    wait: timedelta | None
    """The time from the start of its transaction until it is due."""
    expires: str | None


class Senders:
    """The platform's sessions, and the outbox that they write to."""

    def __init__(self, engine: Engine, codec: Codec) -> None:
        self.engine = engine
        self.codec = codec
        self.current: scoped_session[Session] = scoped_session(sessionmaker(engine))

    def outbox(self) -> list[Waiting]:
        """Return the committed rows of the outbox in the order of writing."""
        columns = (outbox, (outbox.c.due_at - outbox.c.created_at).label("wait"))
        with self.engine.connect() as connection:
            return [self._waiting(row) for row in connection.execute(select(*columns).order_by(outbox.c.id))]

    def event(self) -> Event:
        """Return the only event in the outbox."""
        (one,) = self.outbox()
        return one.event

    def empty(self, *tables: str) -> None:
        """Close the session, and empty the outbox and the given tables."""
        self.current.remove()
        with self.engine.begin() as connection:
            connection.execute(text(f"truncate {', '.join(('streams.outbox', *tables))}"))

    def _waiting(self, row: Row[tuple[object, ...]]) -> Waiting:
        event = self.codec.decode(row.topic, row.value)
        expires = headers.last_text(headers_from_json(row.headers), headers.CE_EXPIRYTIME)
        return Waiting(event, str(row.event_id), row.due_at, row.wait, expires)


@contextmanager
def open_senders(stack: Stack, template: str, folder: Path) -> Iterator[Senders]:
    """Open senders on their own database."""
    with own_environment(stack, template, folder) as environment:
        settings = settings_in(environment)
        engine = polling_engine(settings)
        try:
            yield Senders(engine, build_codec(settings, load_catalogue(settings)))
        finally:
            engine.dispose()
