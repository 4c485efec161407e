"""Describes the platform's tables, one fact per line: of a database, and as the platform's own migrations make them.

A line is ``<table> <column> <type> [not null] [default …]``, ``<table> primary key (…)`` or
``<table> [unique] index <name> <method> (…)``. `tables-1.9.2.txt` has the facts of the migrations of Dify 1.9.2, of the
tables that the pipeline uses only.
"""

from pathlib import Path

from sqlalchemy import Connection, text

from streams.dify.models import Model, metadata

_FILE = Path(__file__).with_name("tables-1.9.2.txt")
_COLUMNS = text(
    """
    select c.relname as name, a.attname as column, format_type(a.atttypid, a.atttypmod) as type,
        a.attnotnull as required, pg_get_expr(d.adbin, d.adrelid) as default
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relkind = 'r' and c.relnamespace = cast('public' as regnamespace)
    """
)
_INDEXES = text(
    """
    select c.relname as name, i.relname as index, x.indisprimary as primary, x.indisunique as unique,
        m.amname as method,
        (select string_agg(pg_get_indexdef(x.indexrelid, k, true), ', ' order by k)
            from generate_series(1, x.indnkeyatts) as k) as columns
    from pg_index as x
    join pg_class as c on c.oid = x.indrelid
    join pg_class as i on i.oid = x.indexrelid
    join pg_am as m on m.oid = i.relam
    where c.relkind = 'r' and c.relnamespace = cast('public' as regnamespace)
    """
)


def platform_facts() -> set[str]:
    """Return the facts of the platform's own migrations."""
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def required_columns(model: type[Model]) -> set[str]:
    """Return the columns that an INSERT has to give: NOT NULL, without a default of the database."""
    columns = metadata.tables[model.__tablename__].columns
    return {column.name for column in columns if not column.nullable and column.server_default is None}


def database_facts(connection: Connection) -> set[str]:
    """Return the facts of all tables in the schema `public` of a database."""
    facts = set()
    for one in connection.execute(_COLUMNS).mappings():
        required = " not null" if one["required"] else ""
        default = "" if one["default"] is None else f" default {one['default']}"
        facts.add(f"{one['name']} {one['column']} {one['type']}{required}{default}")
    for one in connection.execute(_INDEXES).mappings():
        if one["primary"]:
            facts.add(f"{one['name']} primary key ({one['columns']})")
        else:
            unique = "unique " if one["unique"] else ""
            facts.add(f"{one['name']} {unique}index {one['index']} {one['method']} ({one['columns']})")
    return facts
