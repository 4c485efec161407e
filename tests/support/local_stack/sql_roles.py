"""The roles of `deploy/sql` in the database of a test, under names of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.engine import make_url

from tests.support.local_stack.databases import admin_url
from tests.support.local_stack.stack import Stack
from tests.support.processes.worker_process import ROOT

ROLES = ("streams_owner", "streams_worker", "streams_sender", "streams_relay", "streams_reader")
SQL = ROOT / "deploy" / "sql"


@dataclass(frozen=True)
class Roles:
    """The roles of one database. They are named as in the files; the database has other names."""

    admin_url: str
    """The URL of a superuser."""
    names: Mapping[str, str]
    """Name in the files → name in the database."""

    def url(self, role: str) -> str:
        """Return the database's URL for a role."""
        url = make_url(self.admin_url).set(username=self.names[role], password="secret")
        return url.render_as_string(hide_password=False)

    def engine(self, role: str) -> Engine:
        """Return an engine for a role, without a pool."""
        return create_engine(self.url(role).replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)

    def execute(self, statements: str, role: str | None = None) -> None:
        """Execute statements that name roles as the files do. `role`: who executes them; None is the superuser."""
        with psycopg.connect(self.url(role) if role else self.admin_url, autocommit=True) as connection:
            connection.execute(self._renamed(statements))

    def run_file(self, file: str, role: str | None = None) -> None:
        """Execute a file of `deploy/sql`."""
        self.execute((SQL / file).read_text(), role)

    def _renamed(self, text: str) -> str:
        for role, own in self.names.items():
            text = text.replace(role, own)
        return text


@contextmanager
def sql_roles(stack: Stack, database: str) -> Iterator[Roles]:
    """Create the roles in a database, in which the schema is dropped. At the end they are dropped."""
    suffix = uuid4().hex[:8]
    roles = Roles(admin_url(stack, database), {role: f"{role}_{suffix}" for role in ROLES})
    roles.execute("drop schema streams cascade")
    roles.run_file("roles.sql")
    for role in ROLES:
        roles.execute(f"alter role {role} login password 'secret'")
    yield roles
    roles.execute(f"drop owned by {', '.join(ROLES)} cascade")
    roles.execute(f"drop role {', '.join(ROLES)}")
