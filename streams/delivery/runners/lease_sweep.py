"""Finds long deliveries whose worker went away and hands them on; after three lost leases they are dead letters."""

import asyncio
from collections.abc import Mapping

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import Event
from streams import headers
from streams.codec import DecodeError, PayloadElsewhereError
from streams.codec.claim_check import TicketError
from streams.delivery.delivery import Delivery, number
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
BATCH = 100
"""Lost deliveries that one sweep hands on at most; the next sweep continues."""

LOST = text(
    """
    select * from streams.executions
    where status = 'started' and lease_until < clock_timestamp() and pool = :pool
    order by lease_until limit :limit
    """
)


class LeaseSweep:
    """Finds and settles what one pool lost; several workers may sweep at once, the rows' locks decide."""

    def __init__(
        self,
        context: AttemptContext,
        catalogue: Catalogue,
        handlers: Mapping[str, Handler[Event]],
        settlement: Settlement,
    ) -> None:
        """Take what a sweep needs.

        Args:
            context: The pool's database, worker and codec.
            catalogue: The topics that claimed records came from.
            handlers: By name.
            settlement: Ends what was lost; it settles one after the other, nothing in the background.
        """
        self._context = context
        self._catalogue = catalogue
        self._handlers = handlers
        self._settlement = settlement

    async def run(self) -> int:
        """Hand on what was lost; returns how many."""
        async with AsyncSession(self._context.database.bookkeeping) as session:
            rows = (await session.execute(LOST, {"pool": self._context.place.pool, "limit": BATCH})).mappings().all()
        for row in rows:
            await self._hand_on(row)
        return len(rows)

    async def _hand_on(self, row: RowMapping) -> None:
        delivery = await self._delivery(row)
        if delivery is None:
            return
        lease = leases.Lease(row["resource"], row["lease_token"], seconds=0.0)  # it is over, and not extended
        with delivery_context(
            event_id=row["event_id"],
            topic=row["topic"],
            partition=row["partition"],
            offset=row["offset"],
            handler=row["handler"],
            attempt=row["attempts"],
            tenant_id=row["tenant_id"],
        ):
            log.warning("lease ran out, handing the delivery on", worker=row["worker"])
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
        """Return the delivery as it was claimed; None where this version cannot read it: a newer one will."""
        handler = self._handlers.get(row["handler"])
        if handler is None:
            return None
        try:
            topic = self._catalogue.topic(row["topic"])
            event = await self._event(topic.name, row["record_value"])
        except SchemaNotFetchedError as missing:
            self._context.schemas.when_fetched(missing, lambda: None)
            return None  # The next look finds it again.
        except (DecodeError, UnknownEventError, FileMissingError, StorageAwayError, TicketError):
            log.exception("a claimed record cannot be read", event_id=str(row["event_id"]))
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
            first_failed_at=number(record, headers.FIRST_FAILED_AT),
        )
