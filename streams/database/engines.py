"""Engines over the ledger's database, and its partitions; the tables are in `streams.database.tables`.

Handlers and bookkeeping have a connection pool each, so that handlers waiting for a connection cannot keep a claim,
a heartbeat or a settlement from its own.
"""

from collections.abc import Mapping
from datetime import date, timedelta

from sqlalchemy import URL, Connection, Engine, NullPool, column, create_engine, func, make_url, select, table, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streams.database.tables import SCHEMA
from streams.settings import Settings, SettingsError

REVISION = "0006"
"""The newest of `streams/database/migrations/versions`, which this code needs. Starting loads no Alembic."""
VERSION_TABLE = "alembic_version"
_VERSIONS = table(VERSION_TABLE, column("version_num"), schema=SCHEMA)
DIALECT = "postgresql+psycopg"
SCHEMES = ("postgresql", "postgres", DIALECT)
EFFECTS_POOL_SIZE = 20
BOOKKEEPING_POOL_SIZE = 6
EFFECTS_POOL_TIMEOUT = 30.0
BOOKKEEPING_POOL_TIMEOUT = 10.0
"""Seconds; shorter than a lease, so that a heartbeat that finds no connection is noticed while it still matters."""
BOOKKEEPING = "bookkeeping"
PARTITIONS_AHEAD = 14
PARTITION_LOCK = 0x5354_5245_414D_5301
"""Advisory lock for making and dropping partitions: workers start together and all of them look."""
DROP_LOCK_TIMEOUT = "2s"
"""Dropping a partition locks the whole ledger: rather give up than queue every delivery behind a long transaction."""


class DatabaseUnavailableError(Exception):
    """The database does not answer; the message is one line that names the setting, its password masked."""

    __module__ = "streams.database"


class DatabaseNotMigratedError(Exception):
    """The schema `streams` is missing or older than this code; the message says what to run."""

    __module__ = "streams.database"


def database_url(settings: Settings) -> URL:
    """The setting as SQLAlchemy wants it, driver psycopg. Raises SettingsError for anything but PostgreSQL."""
    try:
        url = make_url(settings.database_url.get_secret_value())
    except ArgumentError:
        message = "STREAMS_DATABASE_URL is not a URL; write postgresql://user:password@host:port/database"
        raise SettingsError(message) from None
    if url.drivername not in SCHEMES:
        message = f"STREAMS_DATABASE_URL: {url.drivername}:// is not PostgreSQL; write postgresql://…"
        raise SettingsError(message)
    return url.set(drivername=DIALECT)


class Database:
    """The two connection pools of a worker. Make it inside the process that uses it; `dispose` at the end."""

    def __init__(
        self,
        settings: Settings,
        *,
        effects_pool_size: int = EFFECTS_POOL_SIZE,
        bookkeeping_pool_size: int = BOOKKEEPING_POOL_SIZE,
    ) -> None:
        self.effects: AsyncEngine = create_async_engine(
            database_url(settings),
            hide_parameters=True,  # neither errors nor debug lines tell what rows hold
            pool_size=effects_pool_size,
            max_overflow=0,
            pool_timeout=EFFECTS_POOL_TIMEOUT,
            connect_args=connect_arguments(settings, "effects"),
        )
        """For handlers' transactions."""
        self.bookkeeping: AsyncEngine = create_async_engine(
            database_url(settings),
            hide_parameters=True,
            pool_size=bookkeeping_pool_size,
            max_overflow=0,
            pool_timeout=BOOKKEEPING_POOL_TIMEOUT,
            pool_pre_ping=True,
            connect_args=connect_arguments(settings, BOOKKEEPING),
        )
        """For claims, heartbeats, settlements, the relay and the sweep."""

    async def dispose(self) -> None:
        """Close every connection of both pools."""
        await self.effects.dispose()
        await self.bookkeeping.dispose()


def sync_engine(settings: Settings) -> Engine:
    """An engine for a command: connections are made when asked for and kept by nobody."""
    return create_engine(
        database_url(settings),
        hide_parameters=True,
        poolclass=NullPool,
        connect_args=connect_arguments(settings, "command"),
    )


def connect_arguments(settings: Settings, role: str) -> Mapping[str, str | int]:
    """What libpq is told beside the URL: who we are, and how soon a dead server is noticed."""
    arguments: dict[str, str | int] = {
        "application_name": f"{settings.application}-{role}",
        "connect_timeout": max(2, round(settings.database_connect_timeout)),  # libpq takes whole seconds from 2 on
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": round(settings.database_request_timeout * 1000),
    }
    if role == BOOKKEEPING and "options" not in database_url(settings).query:
        arguments["options"] = f"-c statement_timeout={round(settings.database_request_timeout * 1000)}"
    return arguments


def unavailable(settings: Settings, error: SQLAlchemyError) -> DatabaseUnavailableError:
    """The line for a database that could not be reached or refused us."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    url = database_url(settings).set(drivername="postgresql").render_as_string(hide_password=True)
    return DatabaseUnavailableError(
        f"no connection to the database of STREAMS_DATABASE_URL ({url}): {lines[-1] if lines else type(cause).__name__}"
    )


def check_database(settings: Settings) -> None:
    """Raise DatabaseUnavailableError or DatabaseNotMigratedError unless work can start on the database."""
    engine = sync_engine(settings)
    try:
        with engine.connect() as connection:
            check_migrated(connection)
    except OperationalError as error:
        raise unavailable(settings, error) from error
    finally:
        engine.dispose()


def check_migrated(connection: Connection) -> None:
    """Raise DatabaseNotMigratedError where the schema is missing or older than this code; a newer one is fine."""
    found = revision(connection)
    if found is None:
        message = f"the database has no schema {SCHEMA}: run `streams db upgrade`"
        raise DatabaseNotMigratedError(message)
    if found < REVISION:
        message = f"the schema {SCHEMA} is at revision {found}, this version needs {REVISION}: run `streams db upgrade`"
        raise DatabaseNotMigratedError(message)


def revision(connection: Connection) -> str | None:
    """The revision that the database is at, four digits; None: never migrated."""
    if connection.execute(select(func.to_regclass(f"{SCHEMA}.{VERSION_TABLE}"))).scalar() is None:
        return None
    found = connection.execute(select(_VERSIONS.c.version_num)).scalar()
    return None if found is None else str(found)


def partition_name(day: date) -> str:
    """The table that holds a day's executions, without the schema."""
    return f"executions_{day:%Y%m%d}"


def partition_days(connection: Connection) -> set[date]:
    """The days for which the ledger has a partition."""
    names = connection.execute(
        text(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            " where i.inhparent = to_regclass(:parent)"
        ),
        {"parent": f"{SCHEMA}.executions"},
    ).scalars()
    return {date.fromisoformat(name.removeprefix("executions_")) for name in names}


def ensure_partitions(
    connection: Connection, today: date, back_days: int, ahead_days: int = PARTITIONS_AHEAD
) -> list[date]:
    """Make the ledger's missing partitions from `back_days` before to `ahead_days` after a UTC day; returns them.

    Runs in the caller's transaction and may run anywhere at the same time. Tables are attached rather than created
    as partitions, since attaching lets reads and writes of the ledger go on.
    """
    _lock_partitions(connection)
    wanted = {today + timedelta(days=offset) for offset in range(-back_days, ahead_days + 1)}
    missing = sorted(wanted - partition_days(connection))
    for day in missing:
        name = f"{SCHEMA}.{partition_name(day)}"
        connection.execute(text(f"create table {name} (like {SCHEMA}.executions including all)"))
        connection.execute(
            text(
                f"alter table {SCHEMA}.executions attach partition {name}"
                f" for values from ('{day.isoformat()}') to ('{(day + timedelta(days=1)).isoformat()}')"
            )
        )
    return missing


def drop_old_partitions(connection: Connection, before: date) -> list[date]:
    """Drop the ledger's partitions of days before the given one; returns them.

    Waits `DROP_LOCK_TIMEOUT` for the ledger's lock, then raises OperationalError: try again later.
    """
    _lock_partitions(connection)
    connection.execute(text(f"set local lock_timeout = '{DROP_LOCK_TIMEOUT}'"))
    old = sorted(day for day in partition_days(connection) if day < before)
    for day in old:
        connection.execute(text(f"drop table {SCHEMA}.{partition_name(day)}"))
    return old


def _lock_partitions(connection: Connection) -> None:
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": PARTITION_LOCK})
