"""Reads from the database what the checks of `database` decide on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from streams.database.engines import is_behind_pooler, revision
from streams.operations.doctor.platform_tables import TableNeed

SERVER = text(
    """
    select current_setting('server_version_num')::int as version, current_setting('server_version') as version_text,
        current_setting('TimeZone') as time_zone, current_setting('transaction_read_only') = 'on' as is_read_only,
        pg_encoding_to_char(d.encoding) as encoding,
        has_database_privilege(d.oid, 'TEMPORARY') as may_create_temporary,
        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) as may_create_tables,
        array(select e.extname::text from pg_extension e) as extensions,
        array(select a.name::text from pg_available_extensions a) as available_extensions
    from pg_database d where d.datname = current_database()
    """
)
TABLES = text(
    """
    select t.name,
        array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
              and not a.attisdropped) as columns,
        array(select r.name from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) as r(name)
              where has_table_privilege(c.oid, r.name)) as rights
    from unnest(cast(:names as text[])) as t(name)
    join pg_class c on c.oid = to_regclass(t.name)
    """
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server says about itself and the database."""

    version: int
    """As in `server_version_num`: 180001 is 18.1."""
    version_text: str
    time_zone: str
    is_read_only: bool
    encoding: str
    may_create_temporary: bool
    may_create_tables: bool
    """In the first schema of the search path."""
    extensions: frozenset[str]
    available_extensions: frozenset[str]
    is_pooled: bool
    """Whether a pooler is between this process and the server."""
    revision: str | None
    """Of the schema `streams`; None: there is none."""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """An existing table."""

    columns: frozenset[str]
    rights: frozenset[str]


def read_server(connection: Connection) -> ServerFacts:
    """Return the facts of the server and the database."""
    row = dict(connection.execute(SERVER).mappings().one())
    for name in ("extensions", "available_extensions"):
        row[name] = frozenset(row[name])
    return ServerFacts(**row, is_pooled=is_behind_pooler(connection), revision=revision(connection))


def read_tables(connection: Connection, needs: Sequence[TableNeed]) -> Mapping[str, TableFacts]:
    """Return the needed tables that exist and that the role may see, by name."""
    rows = connection.execute(TABLES, {"names": [need.name for need in needs]}).mappings()
    return {row["name"]: TableFacts(frozenset(row["columns"]), frozenset(row["rights"])) for row in rows}
