"""The schema `streams` on a real PostgreSQL: the results of migrations, and the error if it is missing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import Engine, text

from streams.database import (
    Database,
    DatabaseNotMigratedError,
    DatabaseUnavailableError,
    check_database,
    database_url,
    sync_engine,
)
from streams.database.engines import REVISION
from streams.database.migrations import MigrationRefusedError, upgrade
from streams.database.partitions import PARTITIONS_AHEAD
from streams.database.pg_arrays import array_text, byte_array_text
from streams.database.tables import metadata
from streams.settings import Settings
from tests.support.local_stack.databases import own_database
from tests.support.local_stack.stack import Stack


@pytest.fixture
def empty(settings: Settings, stack: Stack) -> Iterator[Settings]:
    """Settings of an empty database."""
    with own_database(stack, "template0", f"{settings.application}_empty") as url:
        yield settings.model_copy(update={"database_url": SecretStr(url)})


def test_migrations_make_what_the_tables_say(engine: Engine) -> None:
    """Types, defaults, indexes, comments: no difference, except for partitions."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        return name == "streams" if kind == "schema" else kind != "table" or not str(name).startswith("executions_")

    options = {
        "target_metadata": metadata,
        "include_schemas": True,
        "include_name": ours,
        "version_table_schema": "streams",
        "compare_server_default": True,
    }
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        assert connection.execute(text("select id from streams.relay")).scalars().all() == [1]


def test_upgrades_at_once_make_everything_once(empty: Settings) -> None:
    """Four upgrades start together on an empty database. One migrates; the others wait and find nothing to do."""
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: upgrade(empty), range(4)))
    assert sorted(str(one.before) for one in done) == [REVISION, REVISION, REVISION, "None"]
    assert {one.after for one in done} == {REVISION}
    assert sorted(len(one.partitions) for one in done) == [0, 0, 0, empty.ledger_retention_days + 1 + PARTITIONS_AHEAD]
    check_database(empty)
    assert upgrade(empty).partitions == ()


@pytest.mark.requirement("Commands", "`db upgrade`")
def test_an_upgrade_touches_no_other_schema(empty: Settings) -> None:
    upgrade(empty)
    with sync_engine(empty).connect() as connection:
        elsewhere = connection.execute(
            text(
                "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                " where n.nspname not in ('streams', 'information_schema') and n.nspname not like 'pg_%'"
            )
        )
        assert elsewhere.scalar_one() == 0


def test_a_database_that_later_code_migrated_is_taken(settings: Settings, engine: Engine) -> None:
    """During a rolling deployment, old workers start on the new schema. Their upgrade does not change it."""
    with engine.begin() as connection:
        connection.execute(text("update streams.alembic_version set version_num = '9999'"))
    check_database(settings)
    assert upgrade(settings).after == "9999"


def test_a_database_that_is_behind_is_named_with_what_to_run(settings: Settings, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("update streams.alembic_version set version_num = '0000'"))
    with pytest.raises(
        DatabaseNotMigratedError, match=f"0000, this version needs {REVISION}: run `streams db upgrade`"
    ):
        check_database(settings)


@pytest.mark.requirement("Bad input", "a missing database or schema: one line")
def test_a_database_without_the_schema_is_named_with_what_to_run(empty: Settings) -> None:
    with pytest.raises(DatabaseNotMigratedError, match="run `streams db upgrade`"):
        check_database(empty)


@pytest.mark.requirement("Bad input", "a missing database or schema: one line")
def test_a_missing_database_is_one_line_without_the_password() -> None:
    settings = Settings(database_url=SecretStr("postgresql://app:secret@127.0.0.1:1/platform"))
    for attempt in (check_database, upgrade):
        with pytest.raises(DatabaseUnavailableError, match="STREAMS_DATABASE_URL") as refused:
            attempt(settings)
        assert "secret" not in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_refused_migration_changes_nothing(empty: Settings, stack: Stack) -> None:
    """A role without the right to create a schema gets one line."""
    role = f"reader_{uuid4().hex[:8]}"
    with psycopg.connect(stack.database_admin_url) as connection:
        connection.execute(f"create role {role} login password 'secret'")
    url = database_url(empty).set(username=role, password="secret").render_as_string(hide_password=False)
    with pytest.raises(MigrationRefusedError, match="permission denied"):
        upgrade(empty.model_copy(update={"database_url": SecretStr(url)}))
    with psycopg.connect(stack.database_admin_url) as connection:
        connection.execute(f"drop role {role}")


async def test_handlers_that_take_every_connection_leave_bookkeeping_its_own(settings: Settings) -> None:
    database = Database(settings, effects_pool_size=1, bookkeeping_pool_size=1)
    try:
        async with database.effects.connect(), database.bookkeeping.connect() as connection:
            name = await connection.execute(text("select current_setting('application_name')"))
            assert name.scalar_one() == f"{settings.application}-bookkeeping"
    finally:
        await database.dispose()


@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\x00", codec="utf-8")), max_size=5))
@bounds(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_array_as_text_is_read_as_it_was(engine: Engine, texts: list[str | None]) -> None:
    """For any contents of its elements."""
    with engine.connect() as connection:
        read = connection.execute(text("select cast(:texts as text[])"), {"texts": array_text(texts)}).scalar_one()
        raw = [None if one is None else one.encode() for one in texts]
        again = connection.execute(text("select cast(:raw as bytea[])"), {"raw": byte_array_text(raw)}).scalar_one()
    assert read == texts
    assert [None if one is None else bytes(one) for one in again] == raw
