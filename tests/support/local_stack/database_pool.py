"""Databases for one test after the other: to empty one costs a third of what a new copy of the template costs.

A database is used again only if the server's own counters show that the test has changed nothing but rows, or has
added tables, as the store of vectors does. If it has changed the schema, rights, settings, or a table that has rows in
the template, the database is dropped. Its name is another one after each test, so that nothing of an earlier test finds
it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import psycopg

from tests.support.local_stack.databases import admin, copy_template, drop_database, url
from tests.support.local_stack.stack import Stack

_ROW_BY_ROW = ["pg_type", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_depend"]
_CATALOGS_OF_TABLES = ["pg_class", *_ROW_BY_ROW]
"""The catalogs that change when a table is created."""
_END_SESSIONS = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s"
# A server that has crashed starts all its counters again, and notes the time.
_ROWS_WRITTEN = """
    select tup_inserted + tup_updated + tup_deleted, pg_stat_wal.stats_reset::text
    from pg_stat_database, pg_stat_wal where datname = %s
"""
_HAS_OWN_SETTINGS = """
    select datacl is not null or datconnlimit <> -1 or not datallowconn
        or exists (select from pg_db_role_setting where setdatabase = pg_database.oid)
    from pg_database where datname = %s
"""
# Not the catalogs of the whole server, and not the planner's statistics, which the server writes at any time.
_CHANGES = """
    select coalesce(sum(changes) filter (where of_tables), 0)::bigint,
        coalesce(sum(changes) filter (where not of_tables), 0)::bigint
    from (
        select relname = any(%s) as of_tables,
            pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid) + pg_stat_get_tuples_deleted(oid)
        from pg_class where relkind = 'r' and (
            relnamespace = 'pg_catalog'::regnamespace and not relisshared
                and relname not in ('pg_statistic', 'pg_statistic_ext_data')
            or relnamespace::regnamespace || '.' || relname = any(%s)
        )
    ) as of_table (of_tables, changes)
"""
# Each row of a catalog has the number of the transaction that wrote it. The server itself writes the files' names and
# sizes in pg_class, so that its other columns are compared.
_OF_TABLES = """
    select string_agg(concat_ws(' ', relname, relnamespace, relkind, relowner, relacl, reloptions, relpersistence,
        relnatts, relchecks, relhasindex, relhasrules, relhastriggers, relhassubclass, relrowsecurity,
        relforcerowsecurity, relreplident, relispartition, relam, reltoastrelid), ';' order by oid)
    from pg_class
"""
_OF_ROWS = "select concat(count(*), ' ', max(xmin::text::bigint)) from "
_SCHEMA = " union all ".join([_OF_TABLES, *(_OF_ROWS + catalog for catalog in _ROW_BY_ROW)])
_TABLES_WITH_ROWS = """
    select relnamespace::regnamespace || '.' || relname from pg_class
    where relkind = 'r' and oid >= 16384 and pg_relation_size(oid) > 0
"""
# To ask for the size of each table would take longer than the rest.
_NEW_ROWS = """
    select oid::regclass::text from pg_class
    where relkind = 'r' and oid >= 16384 and relnamespace::regnamespace || '.' || relname <> all(%s)
        and case when pg_stat_get_tuples_inserted(oid) > 0 then pg_relation_size(oid) > 0 end
"""
_RESTART_SEQUENCES = """
    select setval(seqrelid::regclass, seqstart, false) from pg_sequence
    where pg_sequence_last_value(seqrelid::regclass) is not null
"""


@dataclass(frozen=True)
class _Template:
    """The tables of the template. It has used no sequence."""

    newest: int
    """The highest object id of a table."""
    catalogs: list[str]
    """What the catalogs say of the tables."""
    filled: list[str]
    """The tables with rows."""


@dataclass(frozen=True)
class _Spare:
    """A database that is like the template again."""

    name: str
    changes: int
    """How many changes of the catalogs of tables the server has counted: those by emptying, and new tables."""


@dataclass
class _Pool:
    """The spare copies of a template for this process, and its connection of the administrator."""

    connection: psycopg.Connection
    template: _Template
    spares: list[_Spare]


_pools: dict[tuple[str, str], _Pool] = {}


@contextmanager
def pooled_database(stack: Stack, template: str, name: str) -> Iterator[str]:
    """Use a database that is like the template for the duration of the block. Yields its URL."""
    pool = _pool(stack, template)
    known = _take(pool, stack, template, name)
    before = _rows_written(pool.connection, name)
    yield url(stack, name).render_as_string(hide_password=False)
    pool = _pool(stack, template)
    idle = f"{name}_idle"
    pool.connection.execute(_END_SESSIONS, (name,))
    try:
        pool.connection.execute(f"alter database {name} rename to {idle}")
    except (psycopg.errors.ObjectInUse, psycopg.errors.InvalidCatalogName):
        drop_database(pool.connection, name)
        return
    changes: int | None = known
    if _rows_written(pool.connection, idle) != before:
        with admin(stack, idle) as connection:
            changes = _empty(connection, pool.template, known)
    since = _rows_written(pool.connection, idle)[1]
    if changes is None or since != before[1] or _has_own_settings(pool.connection, idle):
        drop_database(pool.connection, idle)
    else:
        pool.spares.append(_Spare(idle, changes))


def _take(pool: _Pool, stack: Stack, template: str, name: str) -> int:
    """Name a spare database, or make a new one. Returns its count of changes."""
    if pool.spares:
        spare = pool.spares.pop()
        pool.connection.execute(f"alter database {spare.name} rename to {name}")
        return spare.changes
    copy_template(pool.connection, stack, template, name)
    return 0


def _pool(stack: Stack, template: str) -> _Pool:
    """Return the pool of copies, with a connection that works: a test may have ended the server's sessions."""
    key = (stack.database_admin_url, template)
    if key not in _pools:
        _pools[key] = _new_pool(stack, template)
    pool = _pools[key]
    try:
        pool.connection.execute("")
    except psycopg.OperationalError:
        pool.connection = admin(stack)
    return pool


def _new_pool(stack: Stack, template: str) -> _Pool:
    """Make the first copy, and look at it. The template itself cannot be copied while somebody is connected to it."""
    connection, first = admin(stack), f"{stack.fresh_name()}_idle"
    copy_template(connection, stack, template, first)
    with admin(stack, first) as copy:
        filled = [table for (table,) in copy.execute(_TABLES_WITH_ROWS)]
        return _Pool(connection, _Template(*_schema(copy), filled), [_Spare(first, 0)])


def _empty(connection: psycopg.Connection, template: _Template, known: int) -> int | None:
    """Remove new tables and all rows. Returns the count of changes of the catalogs; None if that is not enough."""
    of_tables, others = _changes(connection, template)
    if others:
        return None
    if of_tables != known:
        new = "select oid::regclass::text from pg_class where relkind = 'r' and oid > %s"
        for (table,) in connection.execute(new, (template.newest,)).fetchall():
            connection.execute(f"drop table if exists {table} cascade")
        if _schema(connection) != (template.newest, template.catalogs):
            return None
    tables = [table for (table,) in connection.execute(_NEW_ROWS, (template.filled,))]
    if tables:
        connection.execute(f"truncate {', '.join(tables)}")
    connection.execute(_RESTART_SEQUENCES)
    connection.execute("select pg_stat_force_next_flush()")
    return _changes(connection, template)[0]


def _changes(connection: psycopg.Connection, template: _Template) -> tuple[int, int]:
    """Return how many rows were changed in the catalogs of tables, and in other catalogs and the filled tables."""
    found = connection.execute(_CHANGES, (_CATALOGS_OF_TABLES, template.filled)).fetchone()
    return cast("tuple[int, int]", found)


def _schema(connection: psycopg.Connection) -> tuple[int, list[str]]:
    """Return the highest object id of a table, and what the catalogs say of all tables."""
    newest = connection.execute("select max(oid)::bigint from pg_class").fetchone()
    return cast("tuple[int]", newest)[0], [row for (row,) in connection.execute(_SCHEMA)]


def _rows_written(connection: psycopg.Connection, name: str) -> tuple[int, str]:
    """Return how many rows were written to a database, and when the server began to count."""
    return cast("tuple[int, str]", connection.execute(_ROWS_WRITTEN, (name,)).fetchone())


def _has_own_settings(connection: psycopg.Connection, name: str) -> bool:
    return bool(cast("tuple[bool]", connection.execute(_HAS_OWN_SETTINGS, (name,)).fetchone())[0])
