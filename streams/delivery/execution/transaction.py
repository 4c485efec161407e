"""The effect's transaction: bounded by the server itself, undone on any failure, never reused after a cancellation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from streams.delivery.errors import BrokenTransactionError, SoftTimeLimitExceeded, TimeLimitExceeded

TRANSACTION_MARGIN = 2.0
"""Seconds that the server grants a transaction beyond the hard limit: a frozen worker holds no row longer."""
LOCK_TIMEOUT = 10.0
"""Seconds that a statement waits for a row; then it is the delivery's own failure and is retried."""

BOUND = text(
    """
    select set_config('lock_timeout', cast(:lock as text), true),
        set_config(
            case when current_setting('server_version_num')::int >= 170000 then 'transaction_timeout'
                else 'idle_in_transaction_session_timeout' end, cast(:whole as text), true)
    """
)


class EffectTransaction:
    """A transaction that commits at the end of its block, begun when its session is first used.

    A handler that touches no row costs no connection. `time_limit` is the handler's hard limit in seconds: from its
    begin the server bounds the transaction, and its waits for locks. Before PostgreSQL 17 there is no limit on a
    whole transaction; the one on idling inside it takes its place.

    The end of the block raises BrokenTransactionError where a failure in it was swallowed, or the transaction was
    ended from within. Once ended the session is closed for good: a handler that is not awaited any more gets no new
    transaction by it, and the pool its connection back.
    """

    __slots__ = ("_begun", "_closed", "_engine", "_session", "_time_limit", "backend_pid")

    def __init__(self, engine: AsyncEngine, time_limit: float) -> None:
        self._engine = engine
        self._time_limit = time_limit
        self._session: AsyncSession | None = None
        self._begun: SessionTransaction | None = None
        self._closed = False
        self.backend_pid: int | None = None
        """The server process behind it, to be ended if its handler does not end by itself; None: not begun."""

    @property
    def session(self) -> AsyncSession:
        """The session; its first statement begins the transaction."""
        if self._session is None:
            self._session = AsyncSession(self._engine, expire_on_commit=False, close_resets_only=False)
            event.listen(self._session.sync_session, "after_begin", self._bind)
            if self._closed:
                self._session.sync_session.close()
        return self._session

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self._closed = True
        session = self._session
        if session is None:
            return
        try:
            if error is None:
                await self._commit(session)
            else:
                await self._undo(session, error)
        finally:
            await session.close()

    async def _commit(self, session: AsyncSession) -> None:
        try:
            await self._check(session)
            await session.commit()
        except BaseException as error:
            await self._undo(session, error)
            raise

    async def _undo(self, session: AsyncSession, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError | SoftTimeLimitExceeded | TimeLimitExceeded):
            await session.invalidate()
        else:
            await session.rollback()

    def _bind(self, _session: Session, transaction: SessionTransaction, connection: Connection) -> None:
        """SQLAlchemy's `after_begin`, for savepoints too: bound the transaction that has begun."""
        if transaction.nested:
            return
        if self._begun is None:
            self._begun = transaction
        pid = getattr(getattr(connection.connection.driver_connection, "info", None), "backend_pid", None)
        self.backend_pid = pid if isinstance(pid, int) else None
        limits = {"lock": LOCK_TIMEOUT * 1000, "whole": (self._time_limit + TRANSACTION_MARGIN) * 1000}
        connection.execute(BOUND, {name: round(limit) for name, limit in limits.items()})

    async def _check(self, session: AsyncSession) -> None:
        """Whether a COMMIT would keep all that was done since the transaction had begun."""
        await session.flush()
        if self._begun is None:
            return
        current = session.sync_session.get_transaction()
        if current is not self._begun:
            message = "the transaction was ended from within: the engine commits it, use begin_nested() to undo a part"
            raise BrokenTransactionError(message)
        connection = await session.connection()
        raw = await connection.get_raw_connection()
        info = getattr(raw.driver_connection, "info", None)
        if getattr(info, "transaction_status", None) == TransactionStatus.INERROR:
            # The server would answer the COMMIT with a silent rollback.
            message = "a failed statement was swallowed: use begin_nested() around what may fail"
            raise BrokenTransactionError(message)


@asynccontextmanager
async def effect_session(engine: AsyncEngine, time_limit: float) -> AsyncIterator[AsyncSession]:
    """The session of an EffectTransaction."""
    async with EffectTransaction(engine, time_limit) as transaction:
        yield transaction.session
