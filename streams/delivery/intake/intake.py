"""Takes over what the transport hands to a pool: deliveries go to the scheduler, other records where they belong."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial

from streams.codec.claim_check import Ticket
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.delivery.dead_letter import UnreadableRecord
from streams.delivery.delivery import Delivery, acknowledge_all, due_at_of, now_ms
from streams.delivery.intake.background_tasks import BackgroundTasks
from streams.delivery.intake.decoding import Decoder, MissingPayload, ReadChunk, ReadRecord, Rerouted
from streams.delivery.intake.partition_queue import PartitionQueues
from streams.delivery.intake.payload_loader import PayloadLoader, pieces_of
from streams.delivery.scheduling.retry_tiers import Hop, Run, Wait, next_move
from streams.delivery.scheduling.scheduler import Scheduler
from streams.delivery.settlement.forwarding import Forwarding
from streams.observability.logs import delivery_context
from streams.schema_registry.clients import SchemaNotFetchedError
from streams.transport.kafka.records import Assignment, Chunk, Record

STORAGE_REST = 15
"""Seconds until a record whose payload could not be had is looked at again."""


class Intake:
    """The entrance of one pool. Lives on the event loop."""

    def __init__(  # noqa: PLR0913 - what the engine puts together
        self,
        decoder: Decoder,
        scheduler: Scheduler,
        *,
        guard: CrashLoopGuard,
        schemas: SchemaLoader,
        payloads: PayloadLoader,
        forwarding: Forwarding,
        background: BackgroundTasks,
        tier: Callable[[float], str],
        delays: Sequence[float],
        fail: Callable[[BaseException], None],
    ) -> None:
        """Make an entrance at which nothing waits.

        Args:
            decoder: Reads records.
            scheduler: Gets the deliveries.
            guard: Notes the start of an assignment before its first chunk is read.
            schemas: Fetches what the decoder misses.
            payloads: Loads the values that lie in the storage.
            forwarding: Sends on what is no delivery of this pool.
            background: Where that is done.
            tier: The retry topic of the pool for a delay in seconds.
            delays: Those of the retry tiers, in seconds, ascending from 0.
            fail: Ends the process, with the error of what waits here.
        """
        self._decoder = decoder
        self._scheduler = scheduler
        self._guard = guard
        self._schemas = schemas
        self._payloads = payloads
        self._forwarding = forwarding
        self._background = background
        self._tier = tier
        self._delays = delays
        self._queues = PartitionQueues(self._take_now, self._take, fail)
        self._closed = False

    def accept(self, chunk: Chunk) -> None:
        """Take over a chunk of an event topic; that of a partition which is leaving is its next owner's."""
        if not self._is_leaving(chunk):
            self._queues.put(chunk, None)

    def accept_tier(self, chunk: Chunk, delay: float) -> None:
        """Take over a chunk of a retry tier of that delay (seconds); as `accept`."""
        if not self._is_leaving(chunk):
            self._queues.put(chunk, delay)

    def forget(self, assignments: Collection[Assignment]) -> None:
        """Forget what waits here of these assignments."""
        self._queues.forget(assignments)

    def close(self) -> None:
        """Take nothing over any more, and forget what waits."""
        self._closed = True
        self._queues.close()
        self._payloads.close()

    def _is_leaving(self, chunk: Chunk) -> bool:
        return self._closed or chunk.assignment.revoking or chunk.assignment.revoked

    def _take_now(self, chunk: Chunk, tier_delay: float | None) -> bool:
        """Take a chunk over where nothing has to be awaited; False: nothing was done."""
        if not self._guard.has_noted(chunk.assignment):
            return False
        if tier_delay is not None:
            self._take_retries(chunk, tier_delay)
            return True
        try:
            read = self._decoder.decode_chunk(chunk, {})
        except SchemaNotFetchedError:
            return False
        if read.elsewhere:
            return False
        self._hand_on(chunk, read)
        return True

    async def _take(self, chunk: Chunk, tier_delay: float | None) -> None:
        """Take a chunk over once there is what it needs: its note, its schemas, its payloads piece by piece."""
        await self._guard.noted(chunk.assignment)
        if tier_delay is not None:
            self._take_retries(chunk, tier_delay)
            return
        read = await self._schemas.ready(partial(self._decoder.decode_chunk, chunk, {}))
        if not read.elsewhere:
            self._hand_on(chunk, read)
            return
        for piece in pieces_of(chunk, read.elsewhere):
            payloads = await self._payloads.load(piece)
            self._hand_on(
                piece.chunk, await self._schemas.ready(partial(self._decoder.decode_chunk, piece.chunk, payloads))
            )

    def _hand_on(self, chunk: Chunk, read: ReadChunk) -> None:
        if self._is_leaving(chunk):
            return
        for record in read.away:
            handlers = self._decoder.handlers_of(chunk.topic)
            self._background.send(chunk, record, self._forwarding.put_off(record, handlers, after=STORAGE_REST))
        for refused in read.unreadable:
            self._background.send(chunk, refused.record, self._bury(refused))
        if crowded := self._scheduler.add(read.deliveries):
            self._background.do(chunk.assignment, self._set_aside(crowded))

    def _take_retries(self, chunk: Chunk, tier_delay: float) -> None:
        """Take over the records of a tier. One that has to wait waits alone: they are of many topics, in no order."""
        for record in chunk.records:
            if self._is_leaving(chunk):
                return
            try:
                read = self._decoder.decode_retry(chunk, record, None)
            except SchemaNotFetchedError:
                self._queues.wait_alone(chunk.assignment, self._wait_for_schema(chunk, record, tier_delay))
            else:
                self._hand_on_retry(chunk, record, tier_delay, read)

    def _hand_on_retry(self, chunk: Chunk, record: Record, tier_delay: float, read: ReadRecord) -> None:
        if self._is_leaving(chunk):
            return
        if isinstance(read, Delivery):
            self._scheduler.add_retry(read, tier_delay)
        elif isinstance(read, UnreadableRecord):
            self._background.send(chunk, record, self._bury(read))
        elif isinstance(read, Rerouted):
            self._queues.wait_alone(chunk.assignment, self._move_after_rest(chunk, read))
        elif isinstance(read.why, Ticket):
            waiting = self._wait_for_payload(chunk, record, tier_delay, read.why, read)
            self._queues.wait_alone(chunk.assignment, waiting)
        elif read.why == "done":
            chunk.settle(record.offset)
        else:
            due_at = now_ms() + STORAGE_REST * 1000
            self._background.send(chunk, record, self._forwarding.moved(record, self._tier(0.0), due_at=due_at))

    async def _wait_for_schema(self, chunk: Chunk, record: Record, tier_delay: float) -> None:
        read = await self._schemas.ready(partial(self._decoder.decode_retry, chunk, record, None))
        self._hand_on_retry(chunk, record, tier_delay, read)

    async def _wait_for_payload(
        self, chunk: Chunk, record: Record, tier_delay: float, ticket: Ticket, absent: MissingPayload
    ) -> None:
        """A large event waits in its tier as a ticket: its payload is loaded when it is due."""
        while True:
            now = now_ms()
            match next_move(now, due_at_of(record), record.timestamp, tier_delay, self._delays):
                case Run():
                    payload = await self._payloads.load_one(chunk.assignment, ticket, absent.handler)
                    read = await self._schemas.ready(partial(self._decoder.decode_retry, chunk, record, payload))
                    self._hand_on_retry(chunk, record, tier_delay, read)
                    return
                case Hop(longer):
                    if not self._is_leaving(chunk):
                        self._background.send(chunk, record, self._forwarding.moved(record, self._tier(longer)))
                    return
                case Wait(until):
                    await asyncio.sleep((until - now) / 1000)

    async def _move_after_rest(self, chunk: Chunk, read: Rerouted) -> None:
        await asyncio.sleep(read.rest)
        if not self._is_leaving(chunk):
            moved = self._forwarding.moved(read.record, read.tier, **_changes(read))
            self._background.send(chunk, read.record, moved)

    async def _set_aside(self, crowded: list[Delivery]) -> None:
        """Take a flooding tenant's deliveries out of the window, so that what comes behind them is seen."""
        await self._forwarding.set_aside(crowded)
        acknowledge_all(crowded)

    async def _bury(self, read: UnreadableRecord) -> None:
        with delivery_context(
            event_id=read.event_id,
            topic=read.topic,
            partition=read.record.partition,
            offset=read.record.offset,
            handler=read.handler,
            attempt=0,
            tenant_id=read.tenant_id,
        ):
            await self._forwarding.unreadable(read)


def _changes(read: Rerouted) -> dict[str, int]:
    changes = {"due_at": read.due_at}
    if read.unknown_since is not None:
        changes["unknown_since"] = read.unknown_since
    return changes
