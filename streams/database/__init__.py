"""The database of the ledger: `engines`, `partitions`, `tables`, `migrations`.

The names listed here are loaded when they are used: a producer needs `tables`, and has no driver for asyncio.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


def __getattr__(name: str) -> object:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module("streams.database.engines"), name)
