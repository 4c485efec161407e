"""The databases of the tests: one that had only rows is used again, and nothing of an earlier test is left in it."""

import os
import signal

import psycopg
import pytest

from tests.support.local_stack.database_pool import pooled_database
from tests.support.local_stack.databases import make_template
from tests.support.local_stack.stack import Stack
from tests.support.processes.worker_process import wait_for

ROW = """
    insert into datasets (id, tenant_id, name, created_by)
    values (gen_random_uuid(), gen_random_uuid(), 'd', gen_random_uuid())
"""
OWN_ID = "select oid from pg_database where datname = current_database()"
OUTBOX_ROW = "insert into streams.outbox (event_id, topic) values (gen_random_uuid(), 't')"


def used(stack: Stack, template: str, *statements: str) -> tuple[int, list[tuple[object, ...]]]:
    """Use a database of the pool. Returns its object id, and the rows of the last statement."""
    with (
        pooled_database(stack, template, stack.fresh_name()) as address,
        psycopg.connect(address, autocommit=True) as connection,
    ):
        (found,) = connection.execute(OWN_ID).fetchall()
        for statement in statements:
            cursor = connection.execute(statement)
        return found[0], cursor.fetchall() if statements and cursor.description else []


@pytest.mark.parametrize("change", [ROW, "create table vectors (id int primary key)", "select 1"])
def test_a_database_is_used_again_and_is_empty(stack: Stack, template: str, change: str) -> None:
    first, _ = used(stack, template, change)
    second, rows = used(stack, template, "select (select count(*) from datasets), to_regclass('vectors')")
    assert (first, rows) == (second, [(0, None)])


def test_sequences_begin_again(stack: Stack, template: str) -> None:
    number = f"{OUTBOX_ROW} returning id"
    assert used(stack, template, OUTBOX_ROW, number)[1] == [(2,)]
    assert used(stack, template, number)[1] == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        "alter table datasets add column another int",
        "create index another on datasets (name)",
        "grant select on datasets to public",
        "drop table embeddings",
        "create function another() returns int language sql as 'select 1'",
        "update streams.installation set installed_at = now()",
        "do $$ begin execute format('alter database %I set statement_timeout = 1', current_database()); end $$",
    ],
)
def test_a_database_with_another_schema_is_not_used_again(stack: Stack, template: str, change: str) -> None:
    """What a test has changed besides rows would change the tests after it."""
    first, _ = used(stack, template, change)
    second, _ = used(stack, template)
    assert first != second


def test_after_a_crash_of_the_server_no_database_is_used_again(breakable_stack: Stack) -> None:
    """A server that has crashed has forgotten what it has counted."""
    template = make_template(breakable_stack)
    with pooled_database(breakable_stack, template, breakable_stack.fresh_name()) as address:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(ROW)
            (found,) = connection.execute(OWN_ID).fetchall()
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select pg_sleep(30)")
        wait_for(lambda: answers(breakable_stack), "the server to be back")
    assert used(breakable_stack, template)[0] != found[0]


def answers(stack: Stack) -> bool:
    try:
        psycopg.connect(stack.database_admin_url).close()
    except psycopg.OperationalError:
        return False
    return True
