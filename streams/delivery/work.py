"""`Work`, the second argument of a handler: its transaction, deadline, publishing and services."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import ParamSpec, Protocol, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event

T = TypeVar("T")
P = ParamSpec("P")


class Work(Protocol):
    """What one attempt gets from the engine. Tests may pass their own implementation."""

    @property
    def session(self) -> AsyncSession:
        """The session of the transaction that also writes the ledger row. Long handlers have one only inside `step`."""

    @property
    def attempt(self) -> int:
        """1 for the first run."""

    @property
    def deadline(self) -> datetime:
        """When the soft time limit cancels this attempt (UTC)."""

    def step(self, *, final: bool = False) -> AbstractAsyncContextManager[AsyncSession]:
        """Open one short transaction of a long handler.

        Args:
            final: Write the success of the delivery in the same transaction, and release the lease.

        Raises:
            LeaseLostError: The lease is lost; nothing is done.
        """

    def warn(self, warnings: Sequence[str]) -> None:
        """Store warnings of a long handler in its execution's row, with the open step or the next one.

        They replace those of an earlier attempt: call it also without warnings. The delivery can still succeed.
        """

    async def publish(self, event: Event, at: datetime | None = None, expires_at: datetime | None = None) -> UUID:
        """Write an event to the outbox in the current transaction. It is sent after the commit.

        `at`, `expires_at` and the returned event id are those of `Outbox.publish`.
        """

    async def heartbeat(self) -> None:
        """Extend the lease of a long handler now; it is also extended in the background. Raises LeaseLostError."""

    def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Run CPU-bound code in a process, which is killed when the attempt is cancelled or exceeds its hard limit.

        The process has no network, no secrets in its environment, and starts no programs. The result is plain data.
        """

    def compute_within(
        self, processor_seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[T]:
        """Run code as `compute` does, and at most this much processor time.

        The load of the machine does not count. Raises ProcessorTimeExceededError: a retry would need as much.
        """

    def use(self, kind: type[T]) -> T:
        """Return a service of the composition root by its type. Raises LookupError."""
