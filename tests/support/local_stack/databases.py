"""The databases of the tests: one template, and a copy of it per test."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.engine import URL, make_url

import streams.database
import streams.database.tables
from streams.database import migrations
from streams.database.engines import OPTIONS, connect_arguments, database_url
from streams.database.ledger_errors import mark_errors
from streams.database.migrations import upgrade
from streams.dify import models
from streams.dify.models import create_platform_tables
from streams.settings import Settings
from tests.support.local_stack.stack import Stack

TEMPLATES = "streams_template_"
"""The prefix of a template's name. Seven hexadecimal digits follow it."""
_MAKING = 0x7465_7375


def make_template(stack: Stack) -> str:
    """Create a database with the platform's tables and ours, unless it exists. Returns its name."""
    name = template_name()
    with admin(stack) as connection:
        # If several sessions start together, the first one creates it.
        connection.execute("select pg_advisory_lock(%s)", (_MAKING,))
        found = connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
        if found is None:
            unfinished = f"unfinished_{name}"
            connection.execute(f"drop database if exists {unfinished} with (force)")
            connection.execute(f"create database {unfinished} template template1 owner {_owner(stack)}")
            _make_tables(url(stack, unfinished))
            connection.execute(f"alter database {unfinished} rename to {name}")
    return name


def template_name() -> str:
    """Return the name of the template.

    The name has a digest of the code that creates the tables, so that a kept server gets a new template when they
    change. The digest includes the day, since a new day needs new partitions.
    """
    digest = hashlib.sha256(datetime.now(tz=UTC).date().isoformat().encode())
    for package in (migrations, models):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    for module in (streams.database.tables, streams.database):
        digest.update(Path(str(module.__file__)).read_bytes())
    return f"{TEMPLATES}{digest.hexdigest()[:7]}"


@contextmanager
def own_database(stack: Stack, template: str, name: str) -> Iterator[str]:
    """Create a copy of the template for the duration of the block. Yields its URL."""
    with admin(stack) as connection:
        copy_template(connection, stack, template, name)
    yield url(stack, name).render_as_string(hide_password=False)
    with admin(stack) as connection:
        drop_database(connection, name)


def copy_template(connection: psycopg.Connection, stack: Stack, template: str, name: str) -> None:
    """Create a database as a copy of another one. The connection is the administrator's."""
    # Copying files is much faster than writing to the WAL, on a server that does not wait for its disk.
    connection.execute(f"create database {name} template {template} owner {_owner(stack)} strategy file_copy")


def drop_database(connection: psycopg.Connection, name: str) -> None:
    """Drop a database, and end its sessions. The connection is the administrator's."""
    connection.execute(f"drop database if exists {name} with (force)")


def url(stack: Stack, database: str) -> URL:
    """Return the URL of a database, in the form of `STREAMS_DATABASE_URL`."""
    return make_url(stack.environment["STREAMS_DATABASE_URL"]).set(database=database, drivername="postgresql")


def admin_url(stack: Stack, database: str | None) -> str:
    """Return the administrator's URL of a database."""
    return make_url(stack.database_admin_url).set(database=database).render_as_string(hide_password=False)


def admin(stack: Stack, database: str | None = None) -> psycopg.Connection:
    """Return a connection that can create and drop databases. None: to the server's own database.

    It is the administrator's: only a superuser may end the autovacuum process that works on a database to drop.
    """
    return psycopg.connect(stack.database_admin_url, dbname=database, autocommit=True)


def polling_engine(settings: Settings) -> Engine:
    """Return an engine for a test that asks the database again and again while it waits. It keeps its connections.

    To open one takes both sides much longer than to answer. It has the options of `streams.database.sync_engine`.
    """
    return mark_errors(
        create_engine(
            database_url(settings),
            **OPTIONS,
            max_overflow=-1,
            pool_pre_ping=True,
            connect_args={**connect_arguments(settings, "command"), "prepare_threshold": None},
        )
    )


def _owner(stack: Stack) -> str:
    return str(make_url(stack.environment["STREAMS_DATABASE_URL"]).username)


def _make_tables(database: URL) -> None:
    engine = create_engine(database.set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        create_platform_tables(connection)
    upgrade(Settings(database_url=database.render_as_string(hide_password=False)))
