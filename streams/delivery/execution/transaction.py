"""The transaction of a handler: limited by the server, rolled back on failure, never reused after a cancellation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from streams.database.engines import POOLED
from streams.delivery.errors import BrokenTransactionError, SoftTimeLimitExceeded, TimeLimitExceeded

TRANSACTION_MARGIN = 2.0
"""Seconds beyond the hard limit after which the server ends a transaction, so that a frozen worker holds no lock."""
LOCK_TIMEOUT = 10.0
"""Seconds that a statement waits for a lock. Then the attempt fails and is retried."""

SET_TIMEOUTS = text(
    """
    select set_config('lock_timeout', cast(:lock as text), true),
        set_config(
            case when current_setting('server_version_num')::int >= 170000 then 'transaction_timeout'
                else 'idle_in_transaction_session_timeout' end, cast(:whole as text), true),
        pg_backend_pid()
    """
)


class EffectTransaction:
    """A transaction that begins when its session is first used, and commits at the end of its block.

    A handler that executes no statement uses no connection. `time_limit` is the handler's hard limit in seconds. The
    server limits the transaction and its waits for locks. PostgreSQL before version 17 has no limit for a whole
    transaction; there `idle_in_transaction_session_timeout` is used.

    The end of the block raises BrokenTransactionError if the handler swallowed a database error or ended the
    transaction itself. After the block the session stays closed: a handler that is no longer awaited cannot begin
    another transaction, and the connection returns to the pool.
    """

    __slots__ = ("_begun", "_closed", "_engine", "_session", "_time_limit", "backend_pid")

    def __init__(self, engine: AsyncEngine, time_limit: float) -> None:
        self._engine = engine
        self._time_limit = time_limit
        self._session: AsyncSession | None = None
        self._begun: SessionTransaction | None = None
        self._closed = False
        self.backend_pid: int | None = None
        """The server process; it is terminated if the handler does not end by itself. None: not begun."""

    @property
    def session(self) -> AsyncSession:
        """The session; its first statement begins the transaction."""
        if self._session is None:
            self._session = AsyncSession(self._engine, expire_on_commit=False, close_resets_only=False)
            event.listen(self._session.sync_session, "after_begin", self._set_timeouts)
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
                await self._roll_back(session, error)
        finally:
            await session.close()

    async def _commit(self, session: AsyncSession) -> None:
        try:
            await self._check(session)
            await session.commit()
        except BaseException as error:
            await self._roll_back(session, error)
            raise

    async def _roll_back(self, session: AsyncSession, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError | SoftTimeLimitExceeded | TimeLimitExceeded):
            await session.invalidate()
        else:
            await session.rollback()

    def _set_timeouts(self, _session: Session, transaction: SessionTransaction, connection: Connection) -> None:
        """Set the time-outs of a transaction. SQLAlchemy's `after_begin`, which is also called for savepoints."""
        if transaction.nested:
            return
        if self._begun is None:
            self._begun = transaction
        limits = {"lock": LOCK_TIMEOUT * 1000, "whole": (self._time_limit + TRANSACTION_MARGIN) * 1000}
        result = connection.execute(SET_TIMEOUTS, {name: round(limit) for name, limit in limits.items()})
        if connection.get_execution_options().get(POOLED):
            self.backend_pid = result.one()[2]
            return
        pid = getattr(getattr(connection.connection.driver_connection, "info", None), "backend_pid", None)
        self.backend_pid = pid if isinstance(pid, int) else None

    async def _check(self, session: AsyncSession) -> None:
        """Raise BrokenTransactionError if a COMMIT would not keep everything since the transaction began."""
        await session.flush()
        if self._begun is None:
            return
        current = session.sync_session.get_transaction()
        if current is not self._begun:
            message = "the handler ended its transaction, which the engine commits; use begin_nested() to undo a part"
            raise BrokenTransactionError(message)
        connection = await session.connection()
        raw = await connection.get_raw_connection()
        info = getattr(raw.driver_connection, "info", None)
        if getattr(info, "transaction_status", None) == TransactionStatus.INERROR:
            # The server would answer the COMMIT with a silent rollback.
            message = "a database error was swallowed; use begin_nested() around a statement that may fail"
            raise BrokenTransactionError(message)


@asynccontextmanager
async def effect_session(engine: AsyncEngine, time_limit: float) -> AsyncIterator[AsyncSession]:
    """Open an EffectTransaction and yield its session."""
    async with EffectTransaction(engine, time_limit) as transaction:
        yield transaction.session
