"""Runs one attempt of a handler in a test, without Kafka and a worker: `await run(handler, event)`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from schemas import Event
from streams.delivery.context import Services
from streams.delivery.execution.process_exit import start_call
from streams.delivery.execution.standalone_work import StandaloneWork
from streams.delivery.execution.time_limits import run_within
from streams.delivery.handler import JSON, Handler
from streams.delivery.ledger.columns import result_json

__all__ = ["Published", "Run", "run"]
E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Published:
    """An event that the handler published, with its earliest time `at` and its expiry time `expires_at`."""

    event: Event
    at: datetime | None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a successful attempt, and the events that it published, in their order."""

    result: JSON
    published: tuple[Published, ...]


async def run(
    handler: Handler[E],
    event: E | Sequence[E],
    *,
    engine: AsyncEngine | None = None,
    services: Sequence[object] = (),
    attempt: int = 1,
) -> Run:
    """Run one attempt of a handler as a worker does: in a transaction, within its time limits, with a checked result.

    Published events are collected, not sent.

    Args:
        handler: The handler.
        event: The event. For a batch handler, a list of events.
        engine: The database for its SQL. Without it, a handler must not use a session.
        services: The objects that `work.use` returns, by their types.
        attempt: The number of the attempt.

    Raises:
        SoftTimeLimitExceeded: The handler ran longer than its soft limit.
        TimeLimitExceeded: The handler ran longer than its limit.
        TypeError: The result is not JSON.
        ValueError: The result is not JSON.
        Exception: Any error of the handler, after its transaction has been rolled back.
    """
    published: list[Published] = []

    def collect(one: Event, at: datetime | None, expires_at: datetime | None) -> UUID:
        published.append(Published(one, at, expires_at))
        return one.event_id

    given = event if handler.kind == "batch" or isinstance(event, Event) else event[0]
    offered = Services(*services)
    opened = None if engine is None else partial(_transaction, engine)
    if handler.kind == "long":
        work = StandaloneWork(handler, publish=collect, services=offered, open_session=opened, attempt=attempt)
        result = await _limited(handler, given, work)
    else:
        async with opened() if opened else nullcontext() as session:
            work = StandaloneWork(handler, publish=collect, services=offered, session=session, attempt=attempt)
            result = await _limited(handler, given, work)
    return Run(result, tuple(published))


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        yield session


async def _limited(handler: Handler[E], given: object, work: StandaloneWork) -> JSON:
    result = await run_within(start_call(handler.function, given, work), handler.soft_time_limit, handler.time_limit)
    result_json(result)
    return result
