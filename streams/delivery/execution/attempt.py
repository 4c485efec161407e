"""Implements `Work` for single and batch handlers, for long handlers, and for settlements."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from streams.codec import Codec
from streams.codec.claim_check import may_be_large
from streams.database import Database
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.delivery.context import Services
from streams.delivery.delivery import Delivery
from streams.delivery.errors import LeaseLostError, SoftTimeLimitExceeded, Unavailable
from streams.delivery.execution.process_exit import start_call
from streams.delivery.execution.time_limits import run_within
from streams.delivery.execution.transaction import EffectTransaction, effect_session
from streams.delivery.handler import Handler
from streams.delivery.ledger import leases
from streams.delivery.ledger.columns import WorkerIdentity
from streams.delivery.process_pool import ComputePool
from streams.delivery.spans import DeliverySpans
from streams.observability.logs import get_logger
from streams.observability.tracing import NO_SPAN, Span
from streams.publishing.outbox.outbox import Outbox
from streams.storage import StorageAwayError

log = get_logger(__name__)
T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """The dependencies of the attempts of one pool."""

    database: Database
    worker_identity: WorkerIdentity
    codec: Codec
    schemas: SchemaLoader
    services: Services
    compute: ComputePool
    spans: DeliverySpans | None = None
    """None: there is no exporter of traces."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Knows whether the database and the other dependencies of a process answer."""

    gate: DatabaseGate
    breakers: BreakerRegistry


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that the caller has begun and will end."""

    session: AsyncSession


class _ComputeCalls:
    """The calls of one attempt in compute processes, for both kinds of `Work`."""

    _context: AttemptContext
    _handler: Handler[Event]
    _tenant: str
    _began: float
    """Seconds since the epoch."""
    processor_seconds: float
    """Processor time of the attempt so far, its calls in compute processes included."""

    async def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run code in a process that is killed at the hard limit of this attempt."""
        return await self._compute(None, function, args, kwargs)

    async def compute_within(
        self, processor_seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run code as `compute` does, and at most this much processor time."""
        return await self._compute(processor_seconds, function, args, kwargs)

    async def _compute(
        self,
        processor_seconds: float | None,
        function: Callable[..., T],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> T:
        return await self._context.compute.run(
            function,
            args,
            kwargs,
            seconds=max(0.1, self._handler.time_limit - (time.time() - self._began)),
            tenant=self._tenant,
            processor_seconds=processor_seconds,
            on_used=self._add_processor_seconds,
        )

    def _add_processor_seconds(self, seconds: float) -> None:
        self.processor_seconds += seconds


class EffectWork(_ComputeCalls):
    """`Work` of an attempt in one transaction: single and batch handlers, `on_dead` and `on_soft_limit`."""

    def __init__(
        self,
        context: AttemptContext,
        transaction: EffectTransaction | OpenTransaction,
        handler: Handler[Event],
        attempt: int,
        tenant: str | None = None,
    ) -> None:
        self._context = context
        self._transaction = transaction
        self._handler = handler
        self._tenant = tenant or ""
        self.attempt = attempt
        self.processor_seconds = 0.0
        self._began = time.time()

    @property
    def session(self) -> AsyncSession:
        """The session of the handler's transaction, which begins with its first statement."""
        return self._transaction.session

    @property
    def deadline(self) -> datetime:
        """When the soft time limit cancels this attempt (UTC)."""
        return datetime.fromtimestamp(self._began + self._handler.soft_time_limit, tz=UTC)

    def step(self, *, final: bool = False) -> AbstractAsyncContextManager[AsyncSession]:
        """Raise TypeError: only long handlers have steps."""
        message = f"{self._handler.name} is no long handler: use work.session (step, final={final})"
        raise TypeError(message)

    def warn(self, warnings: Sequence[str]) -> None:
        """Raise TypeError: only long handlers warn."""
        message = f"{self._handler.name} is no long handler: it cannot warn ({len(warnings)} warnings)"
        raise TypeError(message)

    async def publish(self, event: Event, at: datetime | None = None, expires_at: datetime | None = None) -> UUID:
        """Write an event to the outbox in the handler's transaction."""
        await self._context.schemas.prepare(self._context.codec, type(event))
        return await _publish(Outbox(self.session, self._context.codec), event, at, expires_at)

    async def heartbeat(self) -> None:
        """Do nothing: there is no lease. The transaction itself holds the claim."""

    def use(self, kind: type[T]) -> T:
        """Return a service by its type. Raises LookupError."""
        return self._context.services.use(kind)


class LongWork(_ComputeCalls):
    """`Work` of an attempt under a lease. It has one transaction per step, and none between them."""

    def __init__(self, context: AttemptContext, delivery: Delivery, lease: leases.Lease, span: Span = NO_SPAN) -> None:
        self._context = context
        self._span = span
        self._delivery = delivery
        self._handler = delivery.handler
        self._lease = lease
        self._session: AsyncSession | None = None
        self._step_lock = asyncio.Lock()
        self._step_task: asyncio.Task[object] | None = None
        self._warnings: tuple[str, ...] | None = None
        """Warnings that no step has stored yet."""
        self.finishing = False
        """Whether the final step releases the lease now, and has not failed since. A heartbeat may miss the lease."""
        self.finished = False
        """Whether the final step is committed: the delivery has succeeded, and there is no lease any more."""
        self._tenant = delivery.event.tenant_id or ""
        self.attempt = delivery.run_number
        self.processor_seconds = 0.0
        self._began = time.time()
        self.deadline = datetime.fromtimestamp(self._began + delivery.handler.soft_time_limit, tz=UTC)

    @property
    def session(self) -> AsyncSession:
        """The session of the open step."""
        if self._session is None:
            message = f"{self._delivery.handler.name} is a long handler: open a step with `async with work.step()`"
            raise TypeError(message)
        return self._session

    @asynccontextmanager
    async def step(self, *, final: bool = False) -> AsyncIterator[AsyncSession]:
        """Open one short transaction, which first locks the row of the lease. Concurrent steps wait for each other.

        Raises LeaseLostError; TypeError if a step is opened inside a step.
        """
        context, delivery, task = self._context, self._delivery, asyncio.current_task()
        if self._step_task is task:
            message = f"{delivery.handler.name} opens a step inside a step: end the first one before"
            raise TypeError(message)
        async with self._step_lock:
            span = NO_SPAN if context.spans is None else context.spans.step(self._span)
            engine = context.database.traced_effects if span.is_recorded else context.database.effects
            try:
                with span.block():
                    async with effect_session(engine, delivery.handler.time_limit) as session:
                        if not await leases.hold_lease(session, self._lease):
                            message = f"the lease on {self._lease.resource} is lost"
                            raise LeaseLostError(message)
                        self._session, self._step_task = session, task
                        try:
                            yield session
                        finally:
                            self._session = self._step_task = None
                        if final:
                            self.finishing = True
                            await leases.finish_long(session, delivery, self._lease, None)
                        stored = self._warnings
                        if stored is not None:
                            # As late as possible: a heartbeat waits for the row.
                            await leases.set_warnings(session, delivery, stored)
                self.finished = self.finished or final
            finally:
                self.finishing = False
            if self._warnings is stored:
                self._warnings = None

    def warn(self, warnings: Sequence[str]) -> None:
        """Store the warnings in the execution's row, with the open step or the next one."""
        self._warnings = tuple(warnings)

    async def publish(self, event: Event, at: datetime | None = None, expires_at: datetime | None = None) -> UUID:
        """Write an event to the outbox in the transaction of the step."""
        await self._context.schemas.prepare(self._context.codec, type(event))
        return await _publish(Outbox(self.session, self._context.codec), event, at, expires_at)

    async def heartbeat(self) -> None:
        """Extend the lease, also inside a step. Raises LeaseLostError."""
        async with AsyncSession(self._context.database.bookkeeping) as session, session.begin():
            if not await leases.extend_lease(session, self._delivery, self._lease):
                message = f"the lease on {self._lease.resource} is lost"
                raise LeaseLostError(message)

    def use(self, kind: type[T]) -> T:
        """Return a service by its type. Raises LookupError."""
        return self._context.services.use(kind)


async def call_on_soft_limit(context: AttemptContext, delivery: Delivery, error: SoftTimeLimitExceeded) -> None:
    """Call `on_soft_limit` with a new session and the handler's own limits.

    Its failure is only logged. The delivery is settled with the error of the limit.

    Args:
        context: The pool's dependencies.
        delivery: What exceeded its soft limit.
        error: The error that the delivery is settled with.
    """
    handler = delivery.handler
    if handler.on_soft_limit is None:
        return
    try:
        async with EffectTransaction(context.database.effects, handler.time_limit) as transaction:
            work = EffectWork(context, transaction, handler, delivery.run_number, delivery.event.tenant_id)
            call = start_call(handler.on_soft_limit, delivery.event, work, error)
            await run_within(call, handler.soft_time_limit, handler.time_limit)
    except Exception:
        log.exception("on_soft_limit failed", handler=handler.name, fault="handler")


async def _publish(outbox: Outbox, event: Event, at: datetime | None, expires_at: datetime | None) -> UUID:
    """Publish, in a thread if the value may be large: such a value is first written to the storage.

    Raises Unavailable if the storage is unavailable, because the event is not the cause.
    """
    if not may_be_large(event):
        return outbox.publish(event, at, expires_at)
    try:
        return await asyncio.to_thread(outbox.publish, event, at, expires_at)
    except StorageAwayError as error:
        raise Unavailable("storage", str(error)) from error
