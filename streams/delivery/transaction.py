"""The effect's transaction: bounded by the server itself, undone on any failure, never reused after a cancellation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg.pq import TransactionStatus
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import SessionTransaction

from streams.delivery.failures import BrokenTransactionError, SoftTimeLimitExceeded, TimeLimitExceeded

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


@asynccontextmanager
async def effect_session(engine: AsyncEngine, time_limit: float) -> AsyncIterator[AsyncSession]:
    """A session in a transaction that commits at the end; `time_limit` is the handler's hard limit in seconds.

    Before PostgreSQL 17 there is no limit on a whole transaction; the one on idling inside it takes its place.
    Raises BrokenTransactionError where a failure in it was swallowed, or it was ended from within.

    Once ended the session is closed for good: a handler that is not awaited any more gets no new transaction by it,
    and the pool its connection back.
    """
    session = AsyncSession(engine, expire_on_commit=False, close_resets_only=False)
    try:
        await bound(session, time_limit)
        begun = session.sync_session.get_transaction()
        yield session
        await _check(session, begun)
        await session.commit()
    except (asyncio.CancelledError, SoftTimeLimitExceeded, TimeLimitExceeded):
        await session.invalidate()
        raise
    except BaseException:
        await session.rollback()
        raise
    finally:
        await session.close()


async def bound(session: AsyncSession, time_limit: float) -> None:
    """Limit the current transaction on the server: its duration, and its waits for locks."""
    limits = {"lock": round(LOCK_TIMEOUT * 1000), "whole": round((time_limit + TRANSACTION_MARGIN) * 1000)}
    await session.execute(BOUND, limits)


async def _check(session: AsyncSession, begun: SessionTransaction | None) -> None:
    """Whether a COMMIT would keep all that was done since the transaction had begun. Raises BrokenTransactionError."""
    if session.sync_session.get_transaction() is not begun:
        message = "the transaction was ended from within: the engine commits it, use begin_nested() to undo a part"
        raise BrokenTransactionError(message)
    await session.flush()
    connection = await session.connection()
    raw = await connection.get_raw_connection()
    info = getattr(raw.driver_connection, "info", None)
    if getattr(info, "transaction_status", None) == TransactionStatus.INERROR:
        # The server would answer the COMMIT with a silent rollback.
        message = "a failed statement was swallowed: use begin_nested() around what may fail"
        raise BrokenTransactionError(message)


async def backend_pid(session: AsyncSession) -> int | None:
    """The server process behind a session, to be ended if its handler does not end by itself."""
    connection = await session.connection()
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    pid = getattr(getattr(driver, "info", None), "backend_pid", None)
    return pid if isinstance(pid, int) else None
