"""Implements `Work` without an engine: for cancellations, and for tests of handlers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
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
"""Takes and returns what `Outbox.publish` does."""


class StandaloneWork:
    """`Work` of an attempt in transactions of the caller. `compute` runs in a thread."""

    def __init__(  # noqa: PLR0913 - one argument per part of the engine
        self,
        handler: Handler[Event],
        *,
        publish: Publish,
        services: Services,
        session: AsyncSession | None = None,
        open_session: OpenSession | None = None,
        attempt: int = 1,
    ) -> None:
        """Create the work of one attempt.

        Args:
            handler: Whose attempt it is.
            publish: Called by `publish`.
            services: Returned by `use`.
            session: The open transaction of a single or batch handler.
            open_session: Opens the transaction of each step of a long handler.
            attempt: The number of the run.
        """
        self._handler = handler
        self._publish = publish
        self._services = services
        self._session = session
        self._open_session = open_session
        self.attempt = attempt
        self.warnings: tuple[str, ...] = ()
        """What `warn` was called with last."""
        self.deadline = datetime.fromtimestamp(time.time() + handler.soft_time_limit, tz=UTC)

    @property
    def session(self) -> AsyncSession:
        """The session of the open transaction. Raises TypeError if there is none."""
        if self._session is None:
            open_one = "a long handler opens a step first" if self._handler.kind == "long" else "give an engine"
            message = f"{self._handler.name} has no open transaction here: {open_one}"
            raise TypeError(message)
        return self._session

    @asynccontextmanager
    async def step(self, *, final: bool = False) -> AsyncIterator[AsyncSession]:
        """Open one transaction of a long handler."""
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

    def warn(self, warnings: Sequence[str]) -> None:
        """Keep the warnings."""
        self.warnings = tuple(warnings)

    async def publish(self, event: Event, at: datetime | None = None, expires_at: datetime | None = None) -> UUID:
        """Call the caller's `publish`."""
        return self._publish(event, at, expires_at)

    async def heartbeat(self) -> None:
        """Do nothing: there is no lease."""

    async def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run code in a thread."""
        return await asyncio.to_thread(function, *args, **kwargs)

    async def compute_within(
        self,
        processor_seconds: float,  # noqa: ARG002 - a thread cannot be killed
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run code in a thread, without a limit."""
        return await self.compute(function, *args, **kwargs)

    def use(self, kind: type[T]) -> T:
        """Return a service by its type. Raises LookupError."""
        return self._services.use(kind)
