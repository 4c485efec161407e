"""The rights of `deploy/sql` are enough for each role, and no more.

Expected: a worker with the worker's role handles an event that a sender's role has published and a relay's role has
sent. The sender can neither read events nor change the ledger, the relay sees the outbox only. A reader writes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from streams.codec import build_codec
from streams.database.migrations import upgrade
from streams.database.rights import FILES
from streams.publishing import Outbox
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.integration.conftest import settings_in
from tests.support.apps.trials import SingleTrialRequested
from tests.support.cli import Commands
from tests.support.local_stack.stack import Stack
from tests.support.processes.relay_process import RelayProcess
from tests.support.processes.worker_process import ROOT, WorkerProcess, scalar, wait_for
from tests.support.trial_fixtures import environment, make_table

__all__ = ["environment"]
ROLES = ("streams_worker", "streams_sender", "streams_relay", "streams_reader")
SQL = ROOT / "deploy" / "sql"


@contextmanager
def roles(stack: Stack, database: str) -> Iterator[dict[str, str]]:
    """Create the roles under names of this test, in a database without our schema. Yields name → own name."""
    suffix = uuid4().hex[:8]
    names = {role: f"{role}_{suffix}" for role in ROLES}
    url = make_url(stack.database_admin_url).set(database=database).render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop schema streams cascade")
        connection.execute(renamed("roles.sql", names))
        for own in names.values():
            connection.execute(f"alter role {own} login password 'secret'")
        yield names
        connection.execute(f"drop owned by {', '.join(names.values())} cascade")
        connection.execute(f"drop role {', '.join(names.values())}")


def renamed(file: str, names: dict[str, str]) -> str:
    """Return a file of `deploy/sql` with the names of this test."""
    text = (SQL / file).read_text()
    for role, own in names.items():
        text = text.replace(role, own)
    return text


def as_role(settings: Settings, role: str) -> str:
    """Return the URL of the test's database for a role."""
    url = make_url(settings.database_url.get_secret_value()).set(username=role, password="secret")
    return url.render_as_string(hide_password=False)


def sync(url: str) -> Engine:
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)


@pytest.mark.requirement("Faults of others", "the threat model's SQL rights are enough for each role, and no more")
def test_each_role_can_do_its_work_and_no_more(
    stack: Stack, environment: dict[str, str], topics: Settings, engine: Engine, tmp_path: Path
) -> None:
    make_table(engine)
    database = str(make_url(environment["STREAMS_DATABASE_URL"]).database)
    engine.dispose()
    with roles(stack, database) as names:
        of_worker = {**environment, "STREAMS_DATABASE_URL": as_role(topics, names["streams_worker"])}
        settings = settings_in(of_worker)
        upgrade(settings)
        with psycopg.connect(as_role(topics, names["streams_worker"]), autocommit=True) as connection:
            connection.execute(renamed("grants.sql", names))
        of_relay = {**environment, "STREAMS_DATABASE_URL": as_role(topics, names["streams_relay"])}
        relay = RelayProcess(of_relay, tmp_path / "relay")
        worker = None
        try:
            wait_for(lambda: relay.has_logged("this relay is active"), "the relay to be active")
            worker = WorkerProcess(of_worker, tmp_path / "worker.log").start()
            event = SingleTrialRequested(entity="e")
            with Session(sync(as_role(topics, names["streams_sender"]))) as session:
                Outbox(session, build_codec(topics, load_catalogue(topics))).publish(event)
                session.commit()
            done = "select count(*) from streams.executions where status = 'success'"
            wait_for(lambda: scalar(sync(as_role(topics, names["streams_reader"])), done) == 1, "the event to succeed")
            assert worker.stop() == 0
            assert relay.stop() == 0
            assert "the relay failed" not in relay.log.read_text()
        finally:
            relay.process.kill()
            if worker is not None:
                worker.kill()
        told = Commands({**of_worker, "STREAMS_DATABASE_URL": as_role(topics, names["streams_sender"])}).run("relay")
        assert told.returncode == 1
        assert told.stderr.startswith("streams: permission denied for table alembic_version: the account of")
        refuse(as_role(topics, names["streams_sender"]), "select value from streams.outbox")
        refuse(as_role(topics, names["streams_sender"]), "delete from streams.outbox")
        refuse(as_role(topics, names["streams_sender"]), "select * from streams.executions")
        refuse(as_role(topics, names["streams_relay"]), "select * from streams.executions")
        refuse(
            as_role(topics, names["streams_relay"]), "insert into streams.outbox (event_id, topic) values (null, '')"
        )
        refuse(as_role(topics, names["streams_reader"]), "update streams.executions set status = 'failure'")
        refuse(
            as_role(topics, names["streams_reader"]), "insert into streams.outbox (event_id, topic) values (null, '')"
        )


def test_the_files_are_those_that_the_command_prints(commands: Commands) -> None:
    printed = commands.run("acls", "--format", "sql").stdout
    assert printed.split() == [word for name in FILES for word in (SQL / name).read_text().split()]


def refuse(url: str, statement: str) -> None:
    """Check that a role may not execute a statement."""
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)
