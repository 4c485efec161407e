"""The database of the vectors: its extension, and the connections to a database that has nothing but vectors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from pydantic import SecretStr
from sqlalchemy import URL, func, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from streams.database.engines import DIALECT, EFFECTS_POOL_SIZE, OPTIONS, SCHEMES, connect_arguments
from streams.dify.errors import VectorStoreError
from streams.settings import Settings, SettingsError

_POOL_TIMEOUT = 10.0
"""Seconds to wait for a connection. The caller's own transaction is open during that time."""
_STATEMENT_TIMEOUT = "25s"
"""Shorter than the time limit of the caller's transaction."""


class VectorDatabase:
    """A PostgreSQL with pgvector that is not the database of the platform's tables. It has one engine per event loop.

    Its errors are errors of a vector store: they say nothing about the database of the ledger.
    """

    def __init__(self, url: URL, settings: Settings) -> None:
        """Keep the address. Nothing is connected before the first use."""
        self._url = url
        self._settings = settings
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Yield a session in a transaction that commits at the end. Raises VectorStoreError."""
        try:
            async with AsyncSession(self._engine()) as session, session.begin():
                await session.execute(select(func.set_config("statement_timeout", _STATEMENT_TIMEOUT, True)))  # noqa: FBT003 - is_local
                yield session
        except SQLAlchemyError as error:
            message = f"the database of STREAMS_PGVECTOR_URL failed: {_first_line(error)}"
            raise VectorStoreError(message) from error

    def _engine(self) -> AsyncEngine:
        loop = asyncio.get_running_loop()
        engine = self._engines.get(loop)
        if engine is None:
            engine = self._engines[loop] = create_async_engine(
                self._url,
                **OPTIONS,
                pool_size=EFFECTS_POOL_SIZE,
                max_overflow=0,
                pool_timeout=_POOL_TIMEOUT,
                pool_pre_ping=True,
                connect_args=connect_arguments(self._settings, "vectors"),
            )
        return engine


def vector_database(settings: Settings) -> VectorDatabase | None:
    """Return the database of STREAMS_PGVECTOR_URL; None if it is not set. Raises SettingsError."""
    if settings.pgvector_url is None:
        return None
    return VectorDatabase(_url(settings.pgvector_url), settings)


def _url(setting: SecretStr) -> URL:
    problem = "STREAMS_PGVECTOR_URL is not a URL of PostgreSQL; write postgresql://user:password@host:port/database"
    try:
        url = make_url(setting.get_secret_value())
    except (ArgumentError, ValueError):
        raise SettingsError(problem) from None
    if url.drivername not in SCHEMES:
        raise SettingsError(problem)
    return url.set(drivername=DIALECT)


async def ensure_extension(session: AsyncSession) -> None:
    """Create the extension vector, as the platform's own code does, unless it exists. Raises VectorStoreError."""
    if await _has_type(session):
        return
    reason = "its schema is not on the search_path"
    try:
        async with session.begin_nested():
            await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("extension vector", 0))))
            await session.execute(text("create extension if not exists vector"))
    except DBAPIError as error:
        reason = _first_line(error)
    if not await _has_type(session):
        message = (
            f"the database of the vectors has no extension vector: {reason}. Install pgvector there and run `create "
            "extension vector`, or name another database by STREAMS_PGVECTOR_URL"
        )
        raise VectorStoreError(message)


async def _has_type(session: AsyncSession) -> bool:
    return bool(await session.scalar(text("select to_regtype('vector') is not null")))


def _first_line(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).strip().partition("\n")[0]
