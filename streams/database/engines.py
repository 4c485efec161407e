"""Engines for the ledger's database. The tables are in `streams.database.tables`.

Handlers and bookkeeping each have a connection pool. So handlers that wait for a connection cannot block a claim, a
heartbeat or a settlement.
"""

from collections.abc import Mapping

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    column,
    create_engine,
    event,
    func,
    make_url,
    select,
    table,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streams.database.ledger_errors import LedgerPool, mark_errors
from streams.database.open_connections import OpenConnections
from streams.database.tables import SCHEMA
from streams.settings import Settings, SettingsError
from streams.urls import masked_url

REVISION = "0015"
"""The newest revision in `streams/database/migrations/versions`, which this version needs. Alembic is not imported."""
VERSION_TABLE = "alembic_version"
_VERSIONS = table(VERSION_TABLE, column("version_num"), schema=SCHEMA)
DIALECT = "postgresql+psycopg"
SCHEMES = ("postgresql", "postgres", DIALECT)
OPTIONS: Mapping[str, bool] = {"hide_parameters": True, "use_native_hstore": False}
"""Neither errors nor debug lines show the contents of rows. The type hstore is not looked up: no table has it."""
EFFECTS_POOL_SIZE = 20
BOOKKEEPING_POOL_SIZE = 6
EFFECTS_POOL_TIMEOUT = 30.0
BOOKKEEPING_POOL_TIMEOUT = 10.0
"""Seconds. It is shorter than a lease, so that a heartbeat without a connection is noticed in time."""
MIN_SERVER, MAX_SERVER = 15, 18
"""The major versions of PostgreSQL that are supported."""
POOLER_REMEDY = "set STREAMS_DATABASE_POOLER=transaction, or connect to the server itself"
BOOKKEEPING = "bookkeeping"
POOLED = "streams_pooled"
"""The execution option of an engine whose connections lead to a pooler."""


class DatabaseUnavailableError(Exception):
    """The database does not answer. The message is one line that names the setting, its password masked."""

    __module__ = "streams.database"


class DatabaseNotMigratedError(Exception):
    """The schema `streams` is missing or older than this version. The message says what to run."""

    __module__ = "streams.database"


def database_url(settings: Settings) -> URL:
    """Return the setting as a SQLAlchemy URL with the driver psycopg. Raises SettingsError if it is not PostgreSQL."""
    try:
        url = make_url(settings.database_url.get_secret_value())
    except (ArgumentError, ValueError):  # the errors repeat parts of the URL
        message = "STREAMS_DATABASE_URL is not a URL; write postgresql://user:password@host:port/database"
        raise SettingsError(message) from None
    if url.drivername not in SCHEMES:
        message = f"STREAMS_DATABASE_URL: {url.drivername}:// is not PostgreSQL; write postgresql://…"
        raise SettingsError(message)
    return url.set(drivername=DIALECT)


class Database:
    """The two connection pools of a worker. Create it in the process that uses it, and `dispose` it at the end."""

    def __init__(
        self,
        settings: Settings,
        *,
        effects_pool_size: int = EFFECTS_POOL_SIZE,
        bookkeeping_pool_size: int = BOOKKEEPING_POOL_SIZE,
    ) -> None:
        """Create both pools without connecting.

        Args:
            settings: The database's URL and time limits.
            effects_pool_size: The number of connections for handlers.
            bookkeeping_pool_size: The number of connections for the pipeline itself.
        """
        self.effects: AsyncEngine = create_async_engine(
            database_url(settings),
            **OPTIONS,
            poolclass=LedgerPool,
            pool_size=effects_pool_size,
            max_overflow=0,
            pool_timeout=EFFECTS_POOL_TIMEOUT,
            connect_args=connect_arguments(settings, "effects"),
            execution_options={POOLED: is_pooled(settings)},
        )
        """The engine for the transactions of handlers."""
        self.traced_effects: AsyncEngine = self.effects.execution_options()
        """The same pool for attempts whose spans are recorded: what listens to its statements costs others nothing."""
        self.bookkeeping: AsyncEngine = create_async_engine(
            database_url(settings),
            **OPTIONS,
            poolclass=LedgerPool,
            pool_size=bookkeeping_pool_size,
            max_overflow=0,
            pool_timeout=BOOKKEEPING_POOL_TIMEOUT,
            pool_pre_ping=True,
            connect_args=connect_arguments(settings, BOOKKEEPING),
        )
        """The engine for claims, heartbeats, settlements, the relay and the lease sweep."""
        self.probe: AsyncEngine = create_async_engine(
            database_url(settings),
            **OPTIONS,
            poolclass=NullPool,
            connect_args=connect_arguments(settings, BOOKKEEPING),
        )
        """The engine that finds out whether the database answers. It always opens a new connection."""
        for engine in (self.effects, self.bookkeeping, self.probe):
            mark_errors(engine.sync_engine)
        self._connections = {
            "effects": OpenConnections(self.effects.sync_engine),
            BOOKKEEPING: OpenConnections(self.bookkeeping.sync_engine),
        }
        if is_pooled(settings):
            _limit_statements(self.bookkeeping, settings)

    def connections(self) -> dict[str, tuple[int, int, int]]:
        """Return by engine: how many connections are in use, how many are idle, and how many it opens at most."""
        return {name: connections.counts() for name, connections in self._connections.items()}

    async def dispose(self) -> None:
        """Close every connection of both pools."""
        await self.effects.dispose()
        await self.bookkeeping.dispose()


def sync_engine(settings: Settings) -> Engine:
    """Return an engine for a command. It opens a connection on demand and keeps none."""
    return mark_errors(
        create_engine(
            database_url(settings),
            **OPTIONS,
            poolclass=NullPool,
            connect_args=connect_arguments(settings, "command"),
        )
    )


def connect_arguments(settings: Settings, role: str) -> Mapping[str, str | int | None]:
    """Return the driver's arguments besides the URL: the application name, and how soon a dead server is noticed.

    Behind a pooler, the next transaction may have another server connection. So nothing is prepared, and the time-out
    of bookkeeping is set in each transaction (`_limit_statements`).
    """
    arguments: dict[str, str | int | None] = {
        "application_name": f"{settings.application}-{role}",
        "connect_timeout": max(2, round(settings.database_connect_timeout)),  # libpq's minimum is 2 whole seconds
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": round(settings.database_request_timeout * 1000),
    }
    if is_pooled(settings):
        arguments["prepare_threshold"] = None
    elif role == BOOKKEEPING and "options" not in database_url(settings).query:
        arguments["options"] = f"-c statement_timeout={round(settings.database_request_timeout * 1000)}"
    return arguments


def is_pooled(settings: Settings) -> bool:
    """Return whether a pooler, such as PgBouncer in transaction mode, is between this process and the server."""
    return settings.database_pooler == "transaction"


def _limit_statements(engine: AsyncEngine, settings: Settings) -> None:
    """Set the statement time-out at the start of each transaction of an engine."""
    statement = f"set local statement_timeout = {round(settings.database_request_timeout * 1000)}"

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    event.listen(engine.sync_engine, "begin", begin)


def unavailable(settings: Settings, error: SQLAlchemyError) -> DatabaseUnavailableError:
    """Return the error for a database that cannot be reached or rejects the connection."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    url = masked_url(database_url(settings).set(drivername="postgresql").render_as_string(hide_password=False))
    return DatabaseUnavailableError(
        f"no connection to the database of STREAMS_DATABASE_URL ({url}): {lines[-1] if lines else type(cause).__name__}"
    )


def is_behind_pooler(connection: Connection) -> bool:
    """Return whether a pooler answers this connection: it gives the client a process id that is not the server's."""
    info = getattr(connection.connection.driver_connection, "info", None)
    return bool(connection.execute(select(func.pg_backend_pid())).scalar_one() != getattr(info, "backend_pid", None))


def check_database(settings: Settings) -> None:
    """Raise DatabaseUnavailableError, DatabaseNotMigratedError or SettingsError if the database cannot be used."""
    engine = sync_engine(settings)
    try:
        with engine.connect() as connection:
            check_migrated(connection)
            if not is_pooled(settings) and is_behind_pooler(connection):
                message = f"a connection pooler is in front of the database: {POOLER_REMEDY}"
                raise SettingsError(message)
    except OperationalError as error:
        raise unavailable(settings, error) from error
    finally:
        engine.dispose()


def check_migrated(connection: Connection) -> None:
    """Raise DatabaseNotMigratedError if the schema is missing or older than this version. A newer one is fine."""
    found = revision(connection)
    if found is None:
        message = f"the database has no schema {SCHEMA}: run `streams db upgrade`"
        raise DatabaseNotMigratedError(message)
    if found < REVISION:
        message = f"the schema {SCHEMA} is at revision {found}, this version needs {REVISION}: run `streams db upgrade`"
        raise DatabaseNotMigratedError(message)


def revision(connection: Connection) -> str | None:
    """Return the revision of the database, four digits. None: it was never migrated."""
    if connection.execute(select(func.to_regclass(f"{SCHEMA}.{VERSION_TABLE}"))).scalar() is None:
        return None
    found = connection.execute(select(_VERSIONS.c.version_num)).scalar()
    return None if found is None else str(found)
