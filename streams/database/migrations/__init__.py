"""The schema `streams`, step by step; the platform's own tables are never touched.

Revisions are numbers of four digits; the newest is `streams.database.REVISION`. A migration may only add
what the code before it can live with: old workers run on while new ones come.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from streams.database import sync_engine
from streams.database.engines import REVISION, ensure_partitions, revision, unavailable
from streams.database.tables import SCHEMA
from streams.settings import Settings

UPGRADE_LOCK = 0x5354_5245_414D_5302
"""Advisory lock: of two upgrades at once the second waits, then finds nothing to do."""


class MigrationRefusedError(Exception):
    """The database refused a step, such as for want of rights; nothing was changed. The message is one line."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did."""

    before: str | None
    """Revision found; None: there was no schema yet."""
    after: str
    partitions: tuple[date, ...]
    """Days for which the ledger got a partition."""


def upgrade(settings: Settings, today: date | None = None) -> Upgrade:
    """Bring the schema `streams` to this code's revision and make the ledger's partitions; safe to repeat.

    All of it is one transaction. Raises DatabaseUnavailableError, MigrationRefusedError.
    """
    day = today or datetime.now(tz=UTC).date()
    engine = sync_engine(settings)
    try:
        with engine.begin() as connection:
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
            before = revision(connection)
            if before is None or before < REVISION:
                connection.execute(text(f"create schema if not exists {SCHEMA}"))
                _go_to_newest(connection)
            after = revision(connection)
            made = ensure_partitions(connection, day, settings.ledger_retention_days)
    except OperationalError as error:
        raise unavailable(settings, error) from error
    except DBAPIError as error:
        message = f"the database refused the migration: {str(error.orig).splitlines()[0]}"
        raise MigrationRefusedError(message) from error
    finally:
        engine.dispose()
    return Upgrade(before=before, after=after or REVISION, partitions=tuple(made))


def _go_to_newest(connection: Connection) -> None:
    # Alembic takes long to load, and most commands migrate nothing.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
