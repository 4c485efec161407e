"""Creates apps, and rows of any platform table with values for all columns that an INSERT must give."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, Boolean, Column, DateTime, Float, Integer, Numeric, String, Uuid, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from streams.dify.models import App, Model
from tests.support.platform.handler_runs import Site

_VALUES: tuple[tuple[type[TypeEngine[Any]], Callable[[], object]], ...] = (
    (Uuid, lambda: str(uuid4())),
    (String, lambda: uuid4().hex[:12]),
    (DateTime, lambda: datetime.now(tz=UTC).replace(tzinfo=None)),
    (Float, lambda: 0.5),
    (Numeric, lambda: Decimal(1)),
    (Integer, lambda: 1),
    (Boolean, lambda: False),
    (JSON, dict),
)
"""The first type that fits decides. Float is a Numeric."""


def make_row(model: type[Model], **columns: object) -> Model:
    """Return a row with the given columns, and with some value in each other column that needs one."""
    needed = {
        column.name: _some_value(column)
        for column in model.__table__.columns
        if isinstance(column, Column) and not column.nullable and column.server_default is None
    }
    return model(**{**needed, **columns})


async def add_app(site: Site, **columns: object) -> App:
    """Add an app of the site's tenant."""
    known = {
        "id": str(uuid4()),
        "tenant_id": site.tenant_id,
        "name": "helper",
        "mode": "chat",
        "created_by": str(uuid4()),
    }
    app = make_row(App, **{**known, "created_by": str(uuid4()), **columns})
    assert isinstance(app, App)
    await site.add(app)
    return app


def _some_value(column: Column[object]) -> object:
    return next(make() for kind, make in _VALUES if isinstance(column.type, kind))


async def wait_for_locks(site: Site, count: int) -> None:
    """Wait until this many sessions of the test's database wait for a lock."""
    waiting = text(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    async with asyncio.timeout(10):
        while True:
            async with site.transaction() as session:
                if await session.scalar(waiting) == count:
                    return
            await asyncio.sleep(0.02)


async def wait_for_lock_or_end(site: Site, work: "asyncio.Task[Any]") -> None:
    """Wait until a session of the test's database waits for a lock, or the work has ended."""
    waiting = text(
        "select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    async with asyncio.timeout(30):
        while not work.done():
            async with site.transaction() as session:
                if await session.scalar(waiting):
                    return
            await asyncio.sleep(0.02)


async def awaited_locks(session: AsyncSession) -> list[str]:
    """Return the kinds of locks that sessions of the test's database wait for."""
    waiting = text(
        "select distinct locktype from pg_locks join pg_stat_activity using (pid)"
        " where not granted and datname = current_database()"
    )
    return list(await session.scalars(waiting))
