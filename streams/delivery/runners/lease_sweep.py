"""Settles long deliveries whose lease expired: each is retried, or dead-lettered after three lost leases."""

import asyncio
from collections.abc import Mapping

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from streams import headers
from streams.codec import DecodeError, PayloadElsewhereError
from streams.codec.claim_check import TicketError
from streams.delivery.delivery import Delivery, header_number
from streams.delivery.execution.attempt import AttemptContext
from streams.delivery.handler import Handler
from streams.delivery.ledger import leases
from streams.delivery.settlement.settlement import Attempt, Settlement
from streams.observability.logs import delivery_context, get_logger
from streams.publishing.outbox.outbox import headers_from_json
from streams.schema_registry.clients import SchemaNotFetchedError
from streams.storage import FileMissingError, StorageAwayError
from streams.topics import Catalogue, UnknownEventError
from streams.transport.kafka.records import Record

log = get_logger(__name__)
SWEEP_LIMIT = 100
"""Maximum number of deliveries that one sweep settles. The next sweep continues."""

SELECT_LOST = text(
    """
    select * from streams.executions
    where status = 'started' and lease_until < clock_timestamp() and pool = :pool
    order by lease_until limit :limit
    """
)


class LeaseSweep:
    """Settles the lost deliveries of one pool. Several workers may sweep at once; row locks decide."""

    def __init__(
        self,
        context: AttemptContext,
        catalogue: Catalogue,
        handlers: Mapping[str, Handler[Event]],
        settlement: Settlement,
    ) -> None:
        """Create the sweep of one pool.

        Args:
            context: The pool's database, worker and codec.
            catalogue: The topics that claimed records came from.
            handlers: By name.
            settlement: Settles the lost deliveries, one after the other and not in the background.
        """
        self._context = context
        self._catalogue = catalogue
        self._handlers = handlers
        self._settlement = settlement

    async def run(self) -> int:
        """Settle the lost deliveries; return how many there were."""
        async with AsyncSession(self._context.database.bookkeeping) as session:
            rows = (
                (await session.execute(SELECT_LOST, {"pool": self._context.worker_identity.pool, "limit": SWEEP_LIMIT}))
                .mappings()
                .all()
            )
        for row in rows:
            await self._settle_lost(row)
        return len(rows)

    async def _settle_lost(self, row: RowMapping) -> None:
        delivery = await self._delivery(row)
        if delivery is None:
            return
        lease = leases.Lease(row["resource"], row["lease_token"], seconds=0.0)  # it has expired and is never extended
        with delivery_context(
            event_id=row["event_id"],
            topic=row["topic"],
            partition=row["partition"],
            offset=row["offset"],
            handler=row["handler"],
            attempt=row["attempts"],
            tenant_id=row["tenant_id"],
        ):
            log.warning("lease expired; settling the delivery of a stopped worker", worker=row["worker"])
            await self._settlement.crashed(Attempt(delivery, row["started_at"], lease), row["lost_leases"])

    async def _event(self, topic: str, value: bytes) -> Event:
        codec = self._context.codec
        try:
            return codec.decode(topic, value)
        except PayloadElsewhereError as elsewhere:
            if codec.claims is None:
                raise
            return codec.decode(topic, await asyncio.to_thread(codec.claims.get, elsewhere.ticket))

    async def _delivery(self, row: RowMapping) -> Delivery | None:
        """Return the delivery as it was claimed; None if only another version can read it."""
        handler = self._handlers.get(row["handler"])
        if handler is None:
            return None
        try:
            topic = self._catalogue.topic(row["topic"])
            event = await self._event(topic.name, row["record_value"])
        except SchemaNotFetchedError as missing:
            self._context.schemas.fetch_in_background(missing, lambda: None)
            return None  # The next sweep finds it again.
        except (DecodeError, UnknownEventError, FileMissingError, StorageAwayError, TicketError):
            log.exception("cannot read a claimed record", event_id=str(row["event_id"]))
            return None
        timestamp = round(row["created_at"].timestamp() * 1000)
        record = Record(
            topic=topic.name,
            partition=row["partition"],
            offset=row["offset"],
            timestamp=timestamp,
            timestamp_type="CreateTime",
            key=row["key"],
            value=row["record_value"],
            headers=headers_from_json(row["record_headers"]),
        )
        return Delivery(
            event,
            handler,
            topic,
            record,
            None,
            seq=row["seq"],
            attempts=row["attempts"] - 1,
            replays=row["replays"],
            first_failed_at=header_number(record, headers.FIRST_FAILED_AT),
        )
