"""Creates the platform's tables in a new database: for the local stack and the tests, never in production."""

from sqlalchemy import Connection, text

from streams.dify.models.columns import Model

# A plain function, because not every build of PostgreSQL has uuid-ossp. The platform only needs the name.
_UUID_FUNCTION = """
create or replace function uuid_generate_v4() returns uuid language sql volatile parallel safe
as 'select gen_random_uuid()'
"""


def create_platform_tables(connection: Connection) -> None:
    """Create the missing extension, function and tables, in the connection's transaction.

    A server without pgvector gets the tables too, as the platform's own plain server: vectors are elsewhere then.
    """
    if connection.scalar(text("select exists (select from pg_available_extensions where name = 'vector')")):
        connection.execute(text("create extension if not exists vector"))
    if connection.scalar(text("select to_regprocedure('uuid_generate_v4()')")) is None:
        connection.execute(text(_UUID_FUNCTION))
    Model.metadata.create_all(connection)
