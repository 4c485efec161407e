"""The maintenance of a worker: expired leases, partitions of the ledger, old payloads, stranded documents."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas import DocumentIndexRequested
from streams.codec import Codec, SchemaMissingError
from streams.codec.claim_check import remove_old
from streams.database.engines import drop_old_partitions, ensure_partitions
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.delivery.engine import PoolEngine
from streams.delivery.errors import Unavailable
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.stuck_documents import StuckDocuments
from streams.settings import PoolName, Settings
from streams.topics import Catalogue
from streams.transport.kafka.errors import BrokersUnreachableError

log = get_logger(__name__)
MAINTENANCE_INTERVAL = 3600.0
"""Seconds between two checks of the ledger's partitions, and of old payloads."""
LOOKS_PER_WAIT = 3
"""Searches for stranded documents within the time after which a document counts as stranded."""
PAYLOAD_DAYS = 60
"""Days before the ledger's retention that are searched for payloads: for so long no worker may have run."""
PAUSE = 30.0
"""Seconds until a job that failed is tried again."""


class Maintenance:
    """The maintenance of one worker. All workers do it at the same time, and none disturbs another."""

    def __init__(  # noqa: PLR0913 - one argument per resource
        self,
        settings: Settings,
        bookkeeping: AsyncEngine,
        *,
        catalogue: Catalogue,
        codec: Codec,
        schemas: SchemaLoader,
        engines: Mapping[PoolName, PoolEngine],
    ) -> None:
        self._settings = settings
        self._bookkeeping = bookkeeping
        self._codec = codec
        self._schemas = schemas
        self._engines = engines
        self._stranded = StuckDocuments(bookkeeping, settings, catalogue, codec)

    def work(self) -> list[Coroutine[object, object, None]]:
        """Return the jobs. Each runs until it is cancelled, in a task of its own."""
        return [
            _every(self._settings.sweep_interval, self._sweep),
            _every(MAINTENANCE_INTERVAL, self._keep_ledger),
            _every(MAINTENANCE_INTERVAL, self._remove_old_payloads),
            _every(self._settings.stranded_after / LOOKS_PER_WAIT, self._look_for_stranded),
        ]

    async def close(self) -> None:
        """Release the lock of the search for stranded documents."""
        await self._stranded.close()

    async def _sweep(self) -> None:
        for engine in self._engines.values():
            await engine.sweep.run()

    async def _look_for_stranded(self) -> None:
        try:
            await self._schemas.prepared(self._codec, DocumentIndexRequested)
            await self._stranded.check()
        except (BrokersUnreachableError, KafkaRefusedError, Unavailable, SchemaMissingError) as error:
            log.warning("cannot look for stranded documents", error=message(error))

    async def _remove_old_payloads(self) -> None:
        """Remove the payloads of events that are older than the ledger, which no longer run if they come again."""
        if self._codec.claims is None:
            return
        newest = datetime.now(tz=UTC).date() - timedelta(days=self._settings.ledger_retention_days + 1)
        try:
            removed = await asyncio.to_thread(remove_old, self._codec.claims.store, newest, PAYLOAD_DAYS)
        except Exception as error:  # noqa: BLE001 - no error of a storage may end the worker
            log.warning("old payloads could not be removed", error=message(error))
            return
        if removed:
            log.info("old payloads removed", payloads=removed)

    async def _keep_ledger(self) -> None:
        today, kept = datetime.now(tz=UTC).date(), self._settings.ledger_retention_days
        async with self._bookkeeping.begin() as connection:
            await connection.run_sync(ensure_partitions, today, kept)
        async with self._bookkeeping.begin() as connection:
            await connection.run_sync(drop_old_partitions, today - timedelta(days=kept))


async def _every(seconds: float, do: Callable[[], Awaitable[None]]) -> None:
    """Repeat a job. If the database does not answer, try again earlier; the worker goes on."""
    while True:
        pause = seconds
        try:
            await do()
        except (SQLAlchemyError, OSError) as error:
            pause = min(seconds, PAUSE)
            log.warning("upkeep failed, trying again", error=message(error), retry_in_seconds=pause)
        await asyncio.sleep(pause)
