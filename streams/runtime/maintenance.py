"""The maintenance jobs of a worker: expired leases, the ledger's partitions, old payloads and retries, documents."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from schemas import DocumentIndexRequested
from streams.codec import Codec, SchemaMissingError
from streams.codec.claim_check import remove_old
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.delivery.engine import PoolEngine
from streams.delivery.errors import Unavailable
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.stuck_documents import StuckDocuments
from streams.operations.topics.tier_records import delete_settled_retries
from streams.runtime.ledger_retention import LedgerRetention
from streams.settings import PoolName, Settings
from streams.topics import Catalogue
from streams.transport.kafka.errors import BrokersUnreachableError

log = get_logger(__name__)
MAINTENANCE_INTERVAL = 3600.0
"""Seconds between two runs of the jobs for the ledger's partitions and for old payloads."""
CHECKS_PER_STUCK_TIME = 3
"""Number of checks within the time after which a document counts as stuck (`stranded_after`)."""
PAYLOAD_DAYS = 60
"""Days before the ledger's retention that are searched for old payloads, in case no worker ran for a while."""
RETRY_DELAY = 30.0
"""Seconds until a failed job is tried again."""


class Maintenance:
    """The maintenance of one worker. Several workers can run the same jobs at the same time."""

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
        self._catalogue = catalogue
        self._ledger_retention = LedgerRetention(bookkeeping, settings.ledger_retention_days)
        self._stuck_documents = StuckDocuments(bookkeeping, settings, catalogue, codec)

    def jobs(self) -> list[Coroutine[object, object, None]]:
        """Return the jobs. Each needs a task of its own and runs until it is cancelled."""
        return [
            *(_repeat(self._settings.sweep_interval, engine.sweep.run) for engine in self._engines.values()),
            _repeat(MAINTENANCE_INTERVAL, self._ledger_retention.maintain),
            _repeat(MAINTENANCE_INTERVAL, self._remove_old_payloads),
            _repeat(MAINTENANCE_INTERVAL, self._delete_settled_retries),
            _repeat(self._settings.stranded_after / CHECKS_PER_STUCK_TIME, self._find_stuck_documents),
        ]

    async def close(self) -> None:
        """Release the lease of the search for stuck documents."""
        await self._stuck_documents.close()

    async def _find_stuck_documents(self) -> None:
        try:
            await self._schemas.prepare(self._codec, DocumentIndexRequested)
            await self._stuck_documents.check()
        except (BrokersUnreachableError, KafkaRefusedError, Unavailable, SchemaMissingError) as error:
            log.warning("cannot search for stuck documents", error=message(error))

    async def _remove_old_payloads(self) -> None:
        """Remove the payloads of events older than the ledger's retention, which are rejected if they come again."""
        if self._codec.claims is None:
            return
        newest = datetime.now(tz=UTC).date() - timedelta(days=self._settings.ledger_retention_days + 1)
        try:
            removed = await asyncio.to_thread(remove_old, self._codec.claims.store, newest, PAYLOAD_DAYS)
        except Exception as error:  # noqa: BLE001 - no storage error may end the worker
            log.warning("cannot remove old payloads", error=message(error))
            return
        if removed:
            log.info("old payloads removed", payloads=removed)

    async def _delete_settled_retries(self) -> None:
        try:
            await asyncio.to_thread(delete_settled_retries, self._settings, self._catalogue)
        except (BrokersUnreachableError, KafkaRefusedError) as error:
            log.warning("cannot delete settled retry records", error=message(error))


async def _repeat(seconds: float, job: Callable[[], Awaitable[object]]) -> None:
    """Run a job every `seconds` until cancelled. After an error, run it again earlier: no job may end the worker."""
    while True:
        pause = seconds
        try:
            await job()
        except (SQLAlchemyError, OSError) as error:
            pause = min(seconds, RETRY_DELAY)
            log.warning("maintenance failed; retrying", error=message(error), retry_in_seconds=pause)
        except Exception:
            pause = min(seconds, RETRY_DELAY)
            log.exception("maintenance failed; retrying", retry_in_seconds=pause)
        await asyncio.sleep(pause)
