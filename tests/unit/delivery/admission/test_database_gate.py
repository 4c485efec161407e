"""Database errors are classified as outage, conflict, timeout, or a failure of the delivery."""

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from streams.delivery.admission.database_gate import database_error_kind


def raised(original: psycopg.Error, kind: type[DBAPIError] = DBAPIError, *, cut: bool = False) -> DBAPIError:
    """Return the driver's error as SQLAlchemy raises it. `cut`: the connection is closed."""
    return kind("select 1", {}, original, connection_invalidated=cut)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PoolTimeoutError("no connection within 5 s"), "outage"),
        (raised(errors.ConnectionFailure()), "outage"),
        (raised(errors.DiskFull()), "outage"),
        (raised(errors.TooManyConnections()), "outage"),
        (raised(errors.AdminShutdown()), "outage"),
        (raised(errors.CannotConnectNow()), "outage"),
        (raised(psycopg.OperationalError("connection refused"), OperationalError), "outage"),
        (raised(psycopg.InterfaceError("the connection is closed"), cut=True), "outage"),
        (raised(errors.SerializationFailure()), "conflict"),
        (raised(errors.DeadlockDetected()), "conflict"),
        (raised(errors.LockNotAvailable()), "timeout"),
        (raised(errors.IdleInTransactionSessionTimeout(), cut=True), "timeout"),
        (raised(errors.UniqueViolation(), IntegrityError), None),
        (raised(errors.UndefinedTable()), None),
        (raised(errors.QueryCanceled(), OperationalError), None),
        (raised(psycopg.InterfaceError("wrong use")), None),
        (ValueError("no error of the database"), None),
        (TimeoutError("of something else"), None),
    ],
    ids=lambda value: type(getattr(value, "orig", value)).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_is_classified(error: Exception, kind: str | None) -> None:
    """Only an outage closes the gate: one poison event must not stop a pool."""
    assert database_error_kind(error) == kind
