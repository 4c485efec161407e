"""The ledger's database: engines and partitions here, its tables in `tables`, its migrations in `migrations`."""

from streams.database.engines import (
    DIALECT,
    PARTITIONS_AHEAD,
    REVISION,
    VERSION_TABLE,
    Database,
    DatabaseNotMigratedError,
    DatabaseUnavailableError,
    check_database,
    check_migrated,
    database_url,
    drop_old_partitions,
    ensure_partitions,
    partition_days,
    revision,
    sync_engine,
    unavailable,
)

__all__ = [
    "DIALECT",
    "PARTITIONS_AHEAD",
    "REVISION",
    "VERSION_TABLE",
    "Database",
    "DatabaseNotMigratedError",
    "DatabaseUnavailableError",
    "check_database",
    "check_migrated",
    "database_url",
    "drop_old_partitions",
    "ensure_partitions",
    "partition_days",
    "revision",
    "sync_engine",
    "unavailable",
]
