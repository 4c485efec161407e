"""The context of the demo's steps, and the queries that several of them use."""

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
from streams.local.demo.checks import wait_for
from streams.local.demo.screen import Screen
from streams.publishing import Outbox
from streams.settings import Settings
from streams.topics import Catalogue

T = TypeVar("T")
TIMEOUT = 60.0
"""Seconds until a statement has to be true."""


@dataclass(frozen=True, slots=True)
class KnowledgeBase:
    """The tenant and dataset of the demo."""

    tenant_id: str = field(default_factory=lambda: str(uuid4()))
    dataset_id: str = field(default_factory=lambda: str(uuid4()))
    account_id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True, slots=True)
class Execution:
    """The columns of a ledger row that the demo uses."""

    status: str
    attempts: int
    replays: int
    error: str | None
    history: list[dict[str, object]]
    due_at: datetime | None
    """The due time of its next or last retry."""


@dataclass(frozen=True, slots=True)
class DemoContext:
    """One run of the demo."""

    settings: Settings
    catalogue: Catalogue
    codec: Codec
    engine: Engine
    platform: Platform
    runner: asyncio.Runner
    """Runs the coroutines, all in one event loop."""
    check_alive: Callable[[], None]
    """Raises ClaimError if the demo's own worker has ended."""
    screen: Screen
    knowledge: KnowledgeBase = field(default_factory=KnowledgeBase)

    def wait_for(self, seen: Callable[[], T | None], what: str) -> T:
        """Wait for a value, as `checks.wait_for`. Raises ClaimError after a timeout, or when the worker ends."""
        return wait_for(seen, what, seconds=TIMEOUT, alive=self.check_alive)

    def in_transaction(self, change: Callable[[Session], None], *events: Event) -> None:
        """Change rows and publish events in one transaction."""
        with Session(self.engine) as session, session.begin():
            change(session)
            outbox = Outbox(session, self.codec)
            for event in events:
                outbox.publish(event)

    def execution(self, event_id: UUID, handler: str) -> Execution | None:
        """Return the ledger's row of an event and a handler."""
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
        """Return the current row of a document."""
        with Session(self.engine) as session:
            return session.get_one(Document, document_id)

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Run a coroutine of the platform's services."""
        return self.runner.run(work)

    def in_session(self, question: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Call an async function with a session and return its result."""

        async def run() -> T:
            database = Database(self.settings)
            try:
                async with AsyncSession(database.effects) as session:
                    return await question(session)
            finally:
                await database.dispose()

        return self.runner.run(run())

    def vectors(self) -> int:
        """Return the number of entries in the dataset's collection."""
        with Session(self.engine) as session:
            dataset = session.get(Dataset, self.knowledge.dataset_id)
            struct = None if dataset is None else dataset.index_struct
        collection = self.platform.collection(self.knowledge.dataset_id, struct)
        return self.in_session(lambda session: self.platform.vectors.count(session, collection))
