"""Database errors are classified as outage, conflict, timeout, or a failure of the delivery."""

from typing import TypeVar

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from schemas import DocumentDeleted
from streams.database.ledger_errors import mark
from streams.delivery import Work, handles
from streams.delivery.admission.database_gate import (
    LOST_RUNS,
    counts_lost_run,
    database_error_kind,
    may_be_self_inflicted,
)
from streams.delivery.delivery import Delivery
from streams.topics import Topic
from streams.transport.kafka.records import Record

E = TypeVar("E", bound=BaseException)


def of_ledger(error: E) -> E:
    """Return the error as an engine of the ledger raises it."""
    mark(error)
    return error


def raised(
    original: psycopg.Error, kind: type[DBAPIError] = DBAPIError, *, cut: bool = False, ledger: bool = True
) -> DBAPIError:
    """Return the driver's error as SQLAlchemy raises it. `cut`: the connection is closed."""
    error = kind("select 1", {}, original, connection_invalidated=cut)
    return of_ledger(error) if ledger else error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (of_ledger(PoolTimeoutError("no connection within 5 s")), "outage"),
        (PoolTimeoutError("no connection to another database"), None),
        (raised(psycopg.OperationalError("refused"), OperationalError, ledger=False), None),
        (raised(errors.AdminShutdown(), cut=True, ledger=False), None),
        (raised(errors.ReadOnlySqlTransaction(), cut=True), "outage"),
        (raised(errors.OutOfMemory()), "outage"),
        (raised(errors.ConfigurationLimitExceeded()), None),
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


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (raised(errors.AdminShutdown(), cut=True), True),
        (raised(psycopg.OperationalError("server closed the connection"), OperationalError, cut=True), True),
        (raised(errors.OutOfMemory()), True),
        (raised(errors.DiskFull()), True),
        (raised(psycopg.OperationalError("connection refused"), OperationalError), False),
        (raised(errors.TooManyConnections()), False),
        (raised(errors.CannotConnectNow()), False),
        (of_ledger(PoolTimeoutError("no connection within 5 s")), False),
        (ValueError("no error of the database"), False),
    ],
)
def test_only_a_connected_statement_can_cause_its_own_outage(error: Exception, expected: bool) -> None:  # noqa: FBT001
    """A connection that the server refuses is never the fault of the delivery."""
    assert may_be_self_inflicted(error) is expected


async def _nothing(_event: DocumentDeleted, _work: Work) -> None:
    """Do nothing."""


def delivery() -> Delivery:
    """Return a delivery."""
    event = DocumentDeleted(document_id="d", dataset_id="s", doc_form="text_model")
    record = Record("document.deleted", 0, 0, 0, "CreateTime", b"", b"", ())
    topic = Topic("document.deleted", DocumentDeleted, key="document_id", pool="low")
    return Delivery(event, handles(DocumentDeleted)(_nothing), topic, record, None)


def test_a_delivery_that_always_loses_its_connection_has_failed() -> None:
    """The first runs are not counted. Refused connections between them change nothing."""
    one, other = delivery(), delivery()
    lost, refused = raised(errors.AdminShutdown(), cut=True), raised(psycopg.OperationalError(), OperationalError)
    counted = [counts_lost_run([one, other], error) for error in [lost, refused] * LOST_RUNS]
    assert not any(counted)
    assert counts_lost_run([one], lost)
    assert not counts_lost_run([one], refused)
