"""The counted connections are those that the server has, also after connections were lost or given up."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from streams.database import Database
from streams.settings import Settings
from tests.support.processes.worker_process import scalar, wait_for

LIMIT = 3
OPEN = "select count(*) from pg_stat_activity where application_name = :name and datname = current_database()"


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    made = Database(settings, effects_pool_size=LIMIT)
    yield made
    await made.dispose()


async def opened(database: Database) -> AsyncConnection:
    """Return a connection that the server has."""
    connection = await database.effects.connect()
    await connection.execute(text("select 1"))
    return connection


@pytest.mark.requirement("Logs and metrics", "database connections in use by pool")
async def test_connections_are_counted_as_the_server_has_them(
    settings: Settings, engine: Engine, database: Database
) -> None:
    """In use, idle, given up by the worker, ended by the server, and all closed."""

    def server_has(count: int) -> bool:
        return scalar(engine, OPEN, name=f"{settings.application}-effects") == count

    assert database.connections()["effects"] == (0, 0, LIMIT)
    first, second = await opened(database), await opened(database)
    assert database.connections()["effects"] == (2, 0, LIMIT)
    assert server_has(2)
    await second.close()
    assert database.connections()["effects"] == (1, 1, LIMIT)
    await first.invalidate()
    await first.close()
    assert database.connections()["effects"] == (0, 1, LIMIT)
    wait_for(lambda: server_has(1), "the server to know")

    third = await opened(database)
    pid = (await third.execute(text("select pg_backend_pid()"))).scalar_one()
    assert scalar(engine, "select pg_terminate_backend(:pid)", pid=pid)
    with pytest.raises(DBAPIError):
        await third.execute(text("select 1"))
    await third.close()
    assert database.connections()["effects"] == (0, 0, LIMIT)
    wait_for(lambda: server_has(0), "the server to know")
    await (await opened(database)).close()
    assert database.connections()["effects"] == (0, 1, LIMIT)
    await database.dispose()
    assert database.connections()["effects"] == (0, 0, LIMIT)
