"""The rights of `deploy/sql` are enough for each role, and no more.

Expected: a worker with the worker's role handles an event that a sender's role has published and a relay's role has
sent. The sender can neither read events nor change the ledger, the relay sees the outbox only. A reader writes nothing.
"""

from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Engine
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
from tests.support.local_stack.databases import admin, admin_url
from tests.support.local_stack.sql_roles import ROLES, SQL, sql_roles
from tests.support.local_stack.stack import Stack
from tests.support.processes.relay_process import RelayProcess
from tests.support.processes.worker_process import WorkerProcess, scalar, wait_for
from tests.support.trial_fixtures import environment, make_table

__all__ = ["environment"]


@pytest.mark.requirement("Faults of others", "the threat model's SQL rights are enough for each role, and no more")
def test_each_role_can_do_its_work_and_no_more(
    stack: Stack, environment: dict[str, str], topics: Settings, engine: Engine, tmp_path: Path
) -> None:
    make_table(engine)
    database = str(make_url(environment["STREAMS_DATABASE_URL"]).database)
    engine.dispose()
    with sql_roles(stack, database) as roles:
        of_worker = {**environment, "STREAMS_DATABASE_URL": roles.url("streams_worker")}
        upgrade(settings_in({**environment, "STREAMS_DATABASE_URL": roles.url("streams_owner")}))
        roles.run_file("grants.sql", "streams_owner")
        # The table of the application's own handler: whoever deploys it grants it.
        roles.execute("grant insert on trials to streams_worker")
        roles.execute("grant usage on all sequences in schema public to streams_worker")
        of_relay = {**environment, "STREAMS_DATABASE_URL": roles.url("streams_relay")}
        relay = RelayProcess(of_relay, tmp_path / "relay")
        worker = None
        try:
            wait_for(lambda: relay.has_logged("this relay is active"), "the relay to be active")
            worker = WorkerProcess(of_worker, tmp_path / "worker.log").start()
            event = SingleTrialRequested(entity="e")
            with Session(roles.engine("streams_sender")) as session:
                Outbox(session, build_codec(topics, load_catalogue(topics))).publish(event)
                session.commit()
            done = "select count(*) from streams.executions where status = 'success'"
            wait_for(lambda: scalar(roles.engine("streams_reader"), done) == 1, "the event to succeed")
            assert worker.stop() == 0
            assert relay.stop() == 0
            assert "the relay failed" not in relay.log.read_text()
        finally:
            relay.process.kill()
            if worker is not None:
                worker.kill()
        told = Commands({**of_worker, "STREAMS_DATABASE_URL": roles.url("streams_sender")}).run("relay")
        assert told.returncode == 1
        assert told.stderr.startswith("streams: permission denied for table alembic_version: the account of")
        refuse(roles.url("streams_owner"), "select * from documents")
        refuse(roles.url("streams_worker"), "drop table streams.outbox")
        refuse(roles.url("streams_worker"), "delete from streams.executions")
        refuse(roles.url("streams_worker"), "update accounts set name = ''")
        refuse(roles.url("streams_sender"), "select streams.drop_ledger_day(current_date)")
        refuse(roles.url("streams_sender"), "select value from streams.outbox")
        refuse(roles.url("streams_sender"), "delete from streams.outbox")
        refuse(roles.url("streams_sender"), "select * from streams.executions")
        refuse(roles.url("streams_relay"), "select * from streams.executions")
        refuse(roles.url("streams_relay"), "insert into streams.outbox (event_id, topic) values (null, '')")
        refuse(roles.url("streams_reader"), "update streams.executions set status = 'failure'")
        refuse(roles.url("streams_reader"), "insert into streams.outbox (event_id, topic) values (null, '')")


@pytest.mark.requirement("Bad input", "a right in the database that is missing is one line at a worker's start")
@pytest.mark.parametrize("revoked", ["select on streams.pauses", "usage on schema streams"])
@pytest.mark.usefixtures("topics")
def test_a_missing_right_is_one_line_at_the_start(
    revoked: str, stack: Stack, environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    """While the resources open, or already in the checks before."""
    make_table(engine)
    url = make_url(environment["STREAMS_DATABASE_URL"])
    role = f"limited_{uuid4().hex[:8]}"
    own = url.set(username=role, password="secret").render_as_string(hide_password=False)
    with admin(stack, url.database) as connection:
        connection.execute(f"create role {role} login password 'secret'")
        connection.execute(f"grant usage on schema streams to {role}")
        connection.execute(f"grant all on all tables in schema streams, public to {role}")
        connection.execute(f"revoke {revoked} from {role}")
        log = tmp_path / "worker.log"
        try:
            one = WorkerProcess({**environment, "STREAMS_DATABASE_URL": own}, log)
            assert one.start(ready=False).wait(60) != 0
        finally:
            connection.execute(f"drop owned by {role}")
            connection.execute(f"drop role {role}")
    (line,) = [line for line in one.lines() if line["level"] == "critical"]
    assert str(line["message"]).startswith("permission denied for ")
    assert "`streams acls --format sql`" in str(line["message"])
    assert "Traceback" not in log.read_text()


@pytest.mark.requirement("Faults of others", "an upgrade grants the rights in the schema to the roles of deploy/sql")
def test_an_upgrade_grants_the_rights(stack: Stack, commands: Commands, engine: Engine) -> None:
    """The roles have their own names here. A role that is missing is one line, and nothing is changed."""
    refused = commands.run("db", "upgrade", "--grant")
    assert refused.returncode == 1
    assert refused.stderr.startswith('streams: the database rejected the migration: role "streams_')
    names = ("streams_worker", "streams_sender", "streams_relay", "streams_reader")
    with admin(stack, engine.url.database) as connection:
        for name in names:
            connection.execute(f"create role {name}")
        try:
            granted = "select has_table_privilege('streams_worker', 'streams.executions', 'update')"
            assert connection.execute(granted).fetchone() == (False,)
            done = commands.run("db", "upgrade", "--grant")
            assert (done.returncode, done.stderr) == (0, "")
            assert connection.execute(granted).fetchone() == (True,)
        finally:
            for name in names:
                connection.execute(f"drop owned by {name}")
                connection.execute(f"drop role {name}")


@pytest.mark.requirement(
    "Faults of others", "the platform's own account creates the roles of deploy/sql, without a superuser"
)
def test_the_owner_of_the_tables_creates_the_roles(stack: Stack, engine: Engine) -> None:
    """It may create roles, as the first account of a managed PostgreSQL does."""
    suffix = uuid4().hex[:8]
    account = f"platform_{suffix}"
    names = {role: f"{role}_{suffix}" for role in ROLES}
    own = make_url(admin_url(stack, engine.url.database)).set(username=account, password="secret")
    sql = f"drop schema streams cascade; {(SQL / 'roles.sql').read_text()}"
    for role, name in names.items():
        sql = sql.replace(role, name)
    with admin(stack, engine.url.database) as server:
        server.execute(f"create role {account} createrole login password 'secret'")
        server.execute(f"grant {engine.url.username} to {account}")
        try:
            with psycopg.connect(own.render_as_string(hide_password=False), autocommit=True) as connection:
                connection.execute(sql)
            granted = f"select has_table_privilege('{names['streams_worker']}', 'documents', 'update')"
            assert server.execute(granted).fetchone() == (True,)
        finally:
            for name in (*names.values(), account):
                server.execute(f"drop owned by {name}")
            for name in (*names.values(), account):
                server.execute(f"drop role {name}")


def test_the_files_are_those_that_the_command_prints(commands: Commands) -> None:
    printed = commands.run("acls", "--format", "sql").stdout
    assert printed.split() == [word for name in FILES for word in (SQL / name).read_text().split()]


def refuse(url: str, statement: str) -> None:
    """Check that a role may not execute a statement."""
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)
