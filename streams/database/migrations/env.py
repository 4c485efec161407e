"""Alembic's environment: it uses the connection of `streams.database.migrations`, for the schema `streams` only."""

from alembic import context
from sqlalchemy import Connection

from streams.database.engines import VERSION_TABLE
from streams.database.tables import SCHEMA, metadata


def run(connection: Connection) -> None:
    """Migrate in the connection's transaction, so that either all migrations are applied or none."""
    context.configure(
        connection=connection, target_metadata=metadata, version_table=VERSION_TABLE, version_table_schema=SCHEMA
    )
    context.run_migrations()


run(context.config.attributes["connection"])
