"""From chunks to what waits in a pool: deliveries in their lanes, retries until they are due; the rest goes on."""

import asyncio
from collections.abc import Callable
from functools import partial

from streams.delivery.context import PoolContext
from streams.delivery.delivery import Delivery, acknowledge_all, now_ms
from streams.delivery.intake.background_tasks import BackgroundTasks
from streams.delivery.intake.decoding import (
    MissingPayload,
    Rerouted,
    Unreadable,
    due_at_of,
    read_event_chunk,
    read_tier_record,
)
from streams.delivery.intake.payload_loader import Payload, PayloadLoader, Payloads
from streams.delivery.scheduling.delay_queue import DelayQueue
from streams.delivery.scheduling.lanes import Lanes
from streams.delivery.scheduling.retry_tiers import Hop, Run, Wait, next_move
from streams.delivery.settlement.dead_letter import UnreadableRecord
from streams.delivery.settlement.forwarding import Forwarding
from streams.observability.logs import delivery_context
from streams.schema_registry.clients import SchemaNotFetchedError
from streams.transport.kafka.records import Chunk, Record

STORAGE_REST = 15
"""Seconds until a record whose payload could not be had is looked at again."""


class Intake:
    """Takes over what the transport hands to one pool. Lives on the event loop."""

    def __init__(  # noqa: PLR0913 - intake takes values of its own soon
        self,
        context: PoolContext,
        lanes: Lanes,
        beside: BackgroundTasks,
        forwarding: Forwarding,
        *,
        pump: Callable[[], None],
        leaving: Callable[[Chunk], bool],
    ) -> None:
        """`pump` starts what is ready; `leaving`: a chunk is its partition's next owner's, who reads it again."""
        self.context = context
        self._lanes = lanes
        self._beside = beside
        self._pump = pump
        self._leaving = leaving
        self._forwarding = forwarding
        self.waiting = DelayQueue(context.settings.retry_delays, self._enqueue, self._hop)
        """Retries that are not due."""
        self.desk = PayloadLoader(context)
        """Large events' payloads."""

    def accept(self, chunk: Chunk, payloads: Payloads | None = None) -> None:
        """Take over a chunk of an event topic; that of a partition which is leaving is its next owner's.

        `payloads`: its turn has come at the desk of payloads, with these of its tickets.
        """
        again, schemas = partial(self.accept, chunk, payloads), self.context.schemas
        if self._leaving(chunk) or self.context.guard.holds(chunk.assignment, again):
            return
        if payloads is None and self.desk.used and self.desk.holds(chunk):
            return
        if schemas.holds(chunk.assignment, again):
            return
        try:
            read = read_event_chunk(self.context, chunk, payloads or {})
        except SchemaNotFetchedError as missing:
            schemas.hold(chunk.assignment, missing, again)
            return
        if read.elsewhere:
            self.desk.hold(chunk, read.elsewhere, self.accept)
            return
        for record in read.away:
            handlers = self.context.by_topic[chunk.topic]
            self._beside.send(chunk, record, self._forwarding.put_off(record, handlers, after=STORAGE_REST))
        for refused in read.unreadable:
            self._beside.send(chunk, refused.record, self._bury(refused))
        if crowded := self._lanes.add_all(read.deliveries):
            self._set_aside(chunk, crowded)
        self._pump()

    def accept_tier(self, chunk: Chunk, delay: float) -> None:
        """Take over a chunk of a retry tier of that delay (seconds); as `accept`."""
        if self._leaving(chunk) or self.context.guard.holds(chunk.assignment, partial(self.accept_tier, chunk, delay)):
            return
        for record in chunk.records:
            self._take_from_tier(chunk, record, delay)
        self._pump()

    def _take_from_tier(self, chunk: Chunk, record: Record, delay: float, payload: Payload | None = None) -> None:
        if self._leaving(chunk):
            return
        try:
            read = read_tier_record(self.context, chunk, record, payload)
        except SchemaNotFetchedError as missing:
            # It waits alone: a tier has records of many topics, in no order that would count.
            again = partial(self._take_from_tier, chunk, record, delay, payload)
            self.context.schemas.when_fetched(missing, again)
            return
        if isinstance(read, Unreadable):
            self._beside.send(chunk, record, self._bury(read))
        elif isinstance(read, Rerouted):
            asyncio.get_running_loop().call_later(read.rest, self._move, chunk, read)
        elif isinstance(read, MissingPayload):
            self._without_payload(chunk, record, delay, read)
        else:
            self.waiting.put(read, delay)

    def _without_payload(self, chunk: Chunk, record: Record, delay: float, absent: MissingPayload) -> None:
        """A large event waits in its tier as a ticket: its payload is got when it is due."""
        if absent.why == "done":
            chunk.settle(record.offset)
        elif absent.why == "away":
            tier, due_at = self.context.catalogue.tier(self.context.pool.name, 0.0), now_ms() + STORAGE_REST * 1000
            self._beside.send(chunk, record, self._forwarding.moved(record, tier, due_at=due_at))
        else:
            now, delays = now_ms(), self.context.settings.retry_delays
            again = partial(self._take_from_tier, chunk, record, delay)
            match next_move(now, due_at_of(record), record.timestamp, delay, delays):
                case Run():
                    self.desk.get(chunk, absent.why, absent.handler, again)
                case Hop(longer):
                    tier = self.context.catalogue.tier(self.context.pool.name, longer)
                    self._beside.send(chunk, record, self._forwarding.moved(record, tier))
                case Wait(until):
                    asyncio.get_running_loop().call_later((until - now) / 1000, again)

    def _enqueue(self, delivery: Delivery) -> None:
        self._lanes.add(delivery)
        self._pump()

    def _hop(self, delivery: Delivery, delay: float) -> None:
        tier = self.context.catalogue.tier(self.context.pool.name, delay)
        if delivery.pending is not None:
            self._beside.send(delivery.pending.chunk, delivery.record, self._forwarding.moved(delivery.record, tier))

    def _move(self, chunk: Chunk, read: Rerouted) -> None:
        if not self._leaving(chunk):
            self._beside.send(chunk, read.record, self._forwarding.moved(read.record, read.tier, **_changes(read)))

    def _set_aside(self, chunk: Chunk, crowded: list[Delivery]) -> None:
        """Take a flooding tenant's deliveries out of the window, so that what comes behind them is seen."""

        async def send() -> None:
            await self._forwarding.set_aside(crowded)
            acknowledge_all(crowded)

        self._beside.do(chunk.assignment, send())

    async def _bury(self, read: Unreadable) -> None:
        with delivery_context(
            event_id=read.event_id,
            topic=read.topic,
            partition=read.record.partition,
            offset=read.record.offset,
            handler=read.handler,
            attempt=0,
            tenant_id=read.tenant_id,
        ):
            await self._forwarding.unreadable(
                UnreadableRecord(
                    read.record, read.topic, read.reason, read.error, read.event_id, read.tenant_id, read.handler
                )
            )


def _changes(read: Rerouted) -> dict[str, int]:
    changes = {"due_at": read.due_at}
    if read.unknown_since is not None:
        changes["unknown_since"] = read.unknown_since
    return changes
