"""What a handler is given beside its event: the transaction, the deadline, publishing, services."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import ParamSpec, Protocol, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event

T = TypeVar("T")
P = ParamSpec("P")


class Work(Protocol):
    """The engine's side of one attempt. Tests may pass their own."""

    @property
    def session(self) -> AsyncSession:
        """The effect's transaction, shared with the ledger row; long handlers have none outside `step`."""

    @property
    def attempt(self) -> int:
        """1 for the first run."""

    @property
    def deadline(self) -> datetime:
        """When the soft time limit cancels this attempt (UTC)."""

    def step(self, *, final: bool = False) -> AbstractAsyncContextManager[AsyncSession]:
        """Long handlers: one short transaction, entered only while the lease is held (else LeaseLostError).

        `final` writes the delivery's success in the same transaction.
        """

    async def publish(self, event: Event, at: datetime | None = None, expires_at: datetime | None = None) -> UUID:
        """Write an event to the outbox in the current transaction; it goes out if that commits.

        `at`, `expires_at` and the id that it returns: as `Outbox.publish`.
        """

    async def heartbeat(self) -> None:
        """Long handlers: keep the lease now (it is also kept in the background). Raises LeaseLostError."""

    def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Run CPU-bound code in a process that is killed when the attempt is cancelled or over its limit."""

    def use(self, kind: type[T]) -> T:
        """A service that the composition root provides, by its type. Raises LookupError."""
