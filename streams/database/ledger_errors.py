"""Marks the errors of the ledger's own connections. Errors of a handler's other databases have no mark.

Each engine of `streams.database` marks its errors. A connection on which the server refuses to write is closed, because
a pool would hand it out again after a fail-over.
"""

from sqlalchemy import AsyncAdaptedQueuePool, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection

READ_ONLY = "25006"
"""The SQLSTATE of a write in a read-only transaction, such as on a standby."""
_MARK = "_streams_ledger"


class LedgerPool(AsyncAdaptedQueuePool):
    """A pool that marks its time-outs. SQLAlchemy has no event for them."""

    __module__ = "sqlalchemy.pool"  # the name of its logger: its lines are SQLAlchemy's

    def connect(self) -> PoolProxiedConnection:
        """Return a connection. Raises a marked error if none is free in time."""
        try:
            return super().connect()
        except PoolTimeoutError as error:
            mark(error)
            raise


def mark_errors(engine: Engine) -> Engine:
    """Mark every database error of an engine, also those of opening a connection. Returns the engine."""
    event.listen(engine, "handle_error", _mark_error)
    return engine


def mark(error: BaseException) -> None:
    """Mark an error as one of the ledger's connections."""
    setattr(error, _MARK, True)


def is_ledger_error(error: BaseException) -> bool:
    """Return whether an error came from the ledger's connections."""
    return getattr(error, _MARK, False)


def _mark_error(context: ExceptionContext) -> None:
    if context.sqlalchemy_exception is not None:
        mark(context.sqlalchemy_exception)
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
            context.is_disconnect = True  # SQLAlchemy then discards the connections of the whole pool
