"""The migrations of the schema `streams`. They never change the platform's own tables.

Revisions are numbers of four digits. The newest is `streams.database.REVISION`. A migration may only make changes that
the previous version tolerates: old workers keep running while new ones start.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from streams.database import sync_engine
from streams.database.engines import REVISION, revision, unavailable
from streams.database.partitions import ensure_partitions
from streams.database.rights import grants_sql
from streams.database.tables import SCHEMA
from streams.settings import Settings

UPGRADE_LOCK = 0x5354_5245_414D_5302
"""The advisory lock for upgrades. The second of two concurrent upgrades waits, then finds nothing to do."""


class MigrationRefusedError(Exception):
    """The database rejected a step, for example for missing rights. Nothing was changed. The message is one line."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The result of an upgrade."""

    before: str | None
    """The revision before the upgrade. None: there was no schema."""
    after: str
    partitions: tuple[date, ...]
    """The days for which a partition was created."""


def upgrade(settings: Settings, today: date | None = None, *, grant: bool = False) -> Upgrade:
    """Migrate the schema `streams` to this version's revision, and create the ledger's partitions.

    Runs in one transaction. It is safe to repeat.

    Args:
        settings: The settings, with the database's URL.
        today: The UTC day that the partitions are created around; None: the current one.
        grant: Also grant the rights of `deploy/sql/grants.sql` to its roles, which must exist.

    Raises:
        DatabaseUnavailableError: The database does not answer.
        MigrationRefusedError: The database rejected a step. Nothing was changed.
    """
    day = today or datetime.now(tz=UTC).date()
    engine = sync_engine(settings)
    try:
        with engine.begin() as connection:
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
            before = revision(connection)
            if before is None or before < REVISION:
                # `if not exists` would need the right to create schemas also where there is nothing to create.
                if connection.scalar(text(f"select to_regnamespace('{SCHEMA}')")) is None:
                    connection.execute(text(f"create schema {SCHEMA}"))
                _run_migrations(connection)
            after = revision(connection)
            made = ensure_partitions(connection, day, settings.ledger_retention_days)
            if grant:
                connection.exec_driver_sql(grants_sql())
    except OperationalError as error:
        raise unavailable(settings, error) from error
    except DBAPIError as error:
        message = f"the database rejected the migration: {str(error.orig).splitlines()[0]}"
        raise MigrationRefusedError(message) from error
    finally:
        engine.dispose()
    return Upgrade(before=before, after=after or REVISION, partitions=tuple(made))


def _run_migrations(connection: Connection) -> None:
    # Alembic takes long to load, and most commands do not migrate.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
