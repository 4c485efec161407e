"""The partitions of the ledger, one per UTC day: create the missing ones, drop the old ones.

Only partitions with our names are touched. What an administrator adds, such as a default partition, is left alone.
"""

import re
from datetime import date, datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from streams.database.tables import SCHEMA
from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
PARTITIONS_AHEAD = 14
PARTITION_LOCK = 0x5354_5245_414D_5301
"""The advisory lock for creating and dropping partitions. All workers check the partitions when they start."""
DROP_LOCK_TIMEOUT = "50ms"
"""Dropping a partition locks the whole ledger, and every delivery waits behind that lock. So it gives up at once."""
CREATE_DAY = text("select streams.create_ledger_day(cast(:day as date))")
DROP_DAY = text("select streams.drop_ledger_day(cast(:day as date))")
"""Functions of the schema's owner, since only an owner may attach and drop partitions."""
_NAME = re.compile(r"executions_(\d{8})", re.ASCII)
_LOCK_NOT_AVAILABLE = "55P03"
_COVERED_CODES = {"42P07", "42P17", "23514"}
"""A table of this name exists; its range overlaps; a default partition has rows of this day."""

Dropped = Literal["dropped", "busy", "in use", "unfinished", "rejected"]


def partition_name(day: date) -> str:
    """Return the name of the table with a day's executions, without the schema."""
    return f"executions_{day:%Y%m%d}"


def partition_day(name: str) -> date | None:
    """Return the day of a partition; None: it is not one of ours."""
    digits = _NAME.fullmatch(name)
    if digits is None:
        return None
    try:
        return datetime.strptime(digits[1], "%Y%m%d").date()  # noqa: DTZ007 - a day without a time
    except ValueError:
        return None


def partition_days(connection: Connection) -> set[date]:
    """Return the days for which the ledger has a partition of its own."""
    return {day for name in _names(connection) if (day := partition_day(name)) is not None}


def other_partitions(connection: Connection) -> list[str]:
    """Return the names of the partitions that are not ours, sorted."""
    return sorted(name for name in _names(connection) if partition_day(name) is None)


def ensure_partitions(
    connection: Connection, today: date, back_days: int, ahead_days: int = PARTITIONS_AHEAD
) -> list[date]:
    """Create the ledger's missing partitions around a UTC day, and return their days.

    Runs in the caller's transaction. It may run in several processes at the same time. Tables are created and then
    attached, since attaching does not block reads and writes of the ledger. A day whose rows go into a partition of an
    administrator is logged and left out.

    Args:
        connection: The connection of the transaction.
        today: The UTC day.
        back_days: How many days before it have partitions.
        ahead_days: How many days after it have partitions.
    """
    wanted = {today + timedelta(days=offset) for offset in range(-back_days, ahead_days + 1)}
    if wanted <= partition_days(connection):
        return []
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": PARTITION_LOCK})
    return [day for day in sorted(wanted - partition_days(connection)) if _create(connection, day)]


def drop_partition(connection: Connection, day: date) -> Dropped:
    """Drop the partition of a day, and return what happened. Waits at most a moment for locks.

    Runs in the caller's transaction, which should do nothing else.

    Returns:
        `dropped`; `busy`: another process creates or drops partitions; `in use`: a transaction reads the ledger, for
        example a backup; `unfinished`: the only copy of a long delivery's record is in it; `rejected`: the database
        does not allow it.
    """
    if not connection.execute(text("select pg_try_advisory_xact_lock(:key)"), {"key": PARTITION_LOCK}).scalar():
        return "busy"
    try:
        with connection.begin_nested():
            connection.execute(text(f"set local lock_timeout = '{DROP_LOCK_TIMEOUT}'"))
            dropped = connection.execute(DROP_DAY, {"day": day}).scalar()
    except DBAPIError as error:
        code = getattr(error.orig, "sqlstate", None)
        if code == _LOCK_NOT_AVAILABLE:
            return "in use"
        if code is None or error.connection_invalidated:
            raise
        log.warning("cannot drop a partition of the ledger", partition=partition_name(day), error=message(error))
        return "rejected"
    return "dropped" if dropped else "unfinished"


def _names(connection: Connection) -> list[str]:
    found = connection.execute(
        text(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            " where i.inhparent = to_regclass(:parent)"
        ),
        {"parent": f"{SCHEMA}.executions"},
    )
    return list(found.scalars())


def _create(connection: Connection, day: date) -> bool:
    """Create the partition of a day; False: tables of an administrator are in the way."""
    try:
        with connection.begin_nested():
            connection.execute(CREATE_DAY, {"day": day})
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _COVERED_CODES:
            raise
        log.warning("cannot create a partition of the ledger", partition=partition_name(day), error=message(error))
        return False
    return True
