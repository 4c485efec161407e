"""Creates the platform's tables in a new database: for the local stack and the tests, never in production."""

from sqlalchemy import Connection, text

from streams.dify.models.columns import Model

# Plain functions, because not every server has them. The platform only needs the names.
_FUNCTIONS = {
    # Of the extension uuid-ossp, which not every build of PostgreSQL has.
    "uuid_generate_v4()": "select gen_random_uuid()",
    # PostgreSQL has it from 18 on. Version 7 is 48 bits of milliseconds since 1970, the version, and random bits.
    "uuidv7()": """
        select cast(
            lpad(to_hex(cast(floor(extract(epoch from clock_timestamp()) * 1000) as bigint)), 12, '0')
            || '7' || substr(replace(cast(gen_random_uuid() as text), '-', ''), 14) as uuid)
    """,
}


def create_platform_tables(connection: Connection) -> None:
    """Create the missing extension, functions and tables, in the connection's transaction.

    A server without pgvector gets the tables too, as the platform's own plain server: vectors are elsewhere then.
    """
    if connection.scalar(text("select exists (select from pg_available_extensions where name = 'vector')")):
        connection.execute(text("create extension if not exists vector"))
    for name, body in _FUNCTIONS.items():
        if connection.scalar(text("select to_regprocedure(:name)"), {"name": name}) is None:
            connection.execute(
                text(f"create function {name} returns uuid language sql volatile parallel safe as $${body}$$")
            )
    Model.metadata.create_all(connection)
