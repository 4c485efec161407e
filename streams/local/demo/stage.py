"""What every step of the demo works with, and the questions that several of them ask."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from schemas import Event
from schemas.event import event_time
from streams.codec import Codec
from streams.database import Database
from streams.database.tables import executions
from streams.dify.models import Dataset, Document
from streams.dify.platform import Platform
from streams.local.demo.claims import wait_for
from streams.local.demo.screen import Screen
from streams.local.demo.servers import Worker
from streams.publishing import Outbox
from streams.settings import Settings
from streams.topics import Catalogue

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds that a claim may take to come true."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The tenant whose dataset the demo fills and empties."""

    tenant_id: str = field(default_factory=lambda: str(uuid4()))
    dataset_id: str = field(default_factory=lambda: str(uuid4()))
    account_id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True, slots=True)
class Execution:
    """A row of the ledger, as far as the demo looks at it."""

    status: str
    attempts: int
    replays: int
    error: str | None
    history: list[dict[str, object]]
    due_at: datetime | None
    """Of the retry that it waits for, or waited for last."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of the demo."""

    settings: Settings
    catalogue: Catalogue
    codec: Codec
    engine: Engine
    platform: Platform
    worker: Worker
    screen: Screen
    knowledge: Knowledge = field(default_factory=Knowledge)

    def wait_for(self, seen: Callable[[], T | None], what: str) -> T:
        """The first value that is not None. Raises ClaimError after a while, or when the worker ends."""
        return wait_for(seen, what, seconds=PATIENCE, alive=self.worker.check_alive)

    def in_transaction(self, change: Callable[[Session], None], *events: Event) -> None:
        """Change rows and publish events: both, or none."""
        with Session(self.engine) as session, session.begin():
            change(session)
            outbox = Outbox(session, self.codec)
            for event in events:
                outbox.publish(event)

    def execution(self, event_id: UUID, handler: str) -> Execution | None:
        """What the ledger knows of an event's delivery to a handler."""
        made_at = event_time(event_id)
        if made_at is None:
            return None
        columns = executions.c
        wanted = [columns[name] for name in Execution.__dataclass_fields__]
        with self.engine.connect() as connection:
            row = connection.execute(
                select(*wanted).where(
                    columns.day == made_at.date(), columns.event_id == event_id, columns.handler == handler
                )
            ).one_or_none()
        return None if row is None else Execution(*row)

    def document(self, document_id: str) -> Document:
        """A document's row as it is now."""
        with Session(self.engine) as session:
            return session.get_one(Document, document_id)

    def run(self, work: Coroutine[object, object, T]) -> T:
        """What a coroutine of the platform's services returns."""
        return asyncio.run(work)

    def in_session(self, question: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """The answer of a service that wants a session."""

        async def run() -> T:
            database = Database(self.settings)
            try:
                async with AsyncSession(database.effects) as session:
                    return await question(session)
            finally:
                await database.dispose()

        return asyncio.run(run())

    def vectors(self) -> int:
        """Entries in the dataset's collection."""
        with Session(self.engine) as session:
            dataset = session.get(Dataset, self.knowledge.dataset_id)
            struct = None if dataset is None else dataset.index_struct
        collection = self.platform.collection(self.knowledge.dataset_id, struct)
        return self.in_session(lambda session: self.platform.vectors.count(session, collection))
