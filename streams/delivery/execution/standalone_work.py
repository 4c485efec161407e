"""A handler's `Work` outside of any engine: for a cancellation, and for the tests of a handler's author."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from streams.delivery.context import Services
from streams.delivery.handler import Handler

T = TypeVar("T")
P = ParamSpec("P")
OpenSession = Callable[[], AbstractAsyncContextManager[AsyncSession]]
Publish = Callable[[Event, datetime | None, datetime | None], UUID]
"""As `Outbox.publish`."""


class StandaloneWork:
    """One attempt in transactions of the caller's, computing in a thread.

    Of a long handler each step is one transaction of `open_session`; of others `session` is the one that is open.
    """

    def __init__(  # noqa: PLR0913 - what stands for the engine
        self,
        handler: Handler[Event],
        *,
        publish: Publish,
        services: Services,
        session: AsyncSession | None = None,
        open_session: OpenSession | None = None,
        attempt: int = 1,
    ) -> None:
        self._handler = handler
        self._publish = publish
        self._services = services
        self._session = session
        self._open_session = open_session
        self.attempt = attempt
        self.deadline = datetime.fromtimestamp(time.time() + handler.soft_time_limit, tz=UTC)

    @property
    def session(self) -> AsyncSession:
        """The transaction that is open."""
        if self._session is None:
            open_one = "a long handler opens a step first" if self._handler.kind == "long" else "give an engine"
            message = f"{self._handler.name} has no open transaction here: {open_one}"
            raise TypeError(message)
        return self._session

    @asynccontextmanager
    async def step(self, *, final: bool = False) -> AsyncIterator[AsyncSession]:
        """A long handler's transaction."""
        if self._handler.kind != "long":
            message = f"{self._handler.name} is no long handler: use work.session (step, final={final})"
            raise TypeError(message)
        if self._open_session is None:
            message = f"{self._handler.name} opens a step: give an engine"
            raise TypeError(message)
        async with self._open_session() as session:
            self._session = session
            try:
                yield session
            finally:
                self._session = None

    async def publish(self, event: Event, at: datetime | None = None, expires_at: datetime | None = None) -> UUID:
        """As the caller wants it."""
        return self._publish(event, at, expires_at)

    async def heartbeat(self) -> None:
        """There is no lease to keep."""

    async def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """In a thread."""
        return await asyncio.to_thread(function, *args, **kwargs)

    def use(self, kind: type[T]) -> T:
        """A service by its type."""
        return self._services.use(kind)
