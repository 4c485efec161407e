"""The database of the ledger: `engines` and partitions, `tables`, `migrations`."""

from streams.database.engines import (
    Database,
    DatabaseNotMigratedError,
    DatabaseUnavailableError,
    check_database,
    database_url,
    sync_engine,
)

__all__ = [
    "Database",
    "DatabaseNotMigratedError",
    "DatabaseUnavailableError",
    "check_database",
    "database_url",
    "sync_engine",
]
