"""Accepts the chunks of a pool: deliveries go to the scheduler, other records to a tier or a DLQ."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from time import perf_counter

from streams.codec.claim_check import Ticket
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.delivery.dead_letter import UnreadableRecord
from streams.delivery.delivery import Delivery, acknowledge_all, due_at_of, now_ms
from streams.delivery.intake.background_tasks import BackgroundTasks
from streams.delivery.intake.decoded import DecodedChunk, DecodedRecord, MissingPayload, Rerouted
from streams.delivery.intake.decoding import Decoder
from streams.delivery.intake.partition_queue import PartitionQueues
from streams.delivery.intake.payload_loader import PayloadLoader, release_unused, split_chunk
from streams.delivery.scheduling.arrival import WAKE_INTERVAL, Arrival
from streams.delivery.scheduling.retry_tiers import Hop, Run, Wait, next_move
from streams.delivery.scheduling.scheduler import Scheduler
from streams.delivery.settlement.forwarding import Forwarding
from streams.delivery.telemetry import Telemetry
from streams.observability.logs import delivery_context
from streams.schema_registry.clients import SchemaNotFetchedError
from streams.transport.kafka.records import Assignment, Chunk, Record

STORAGE_RETRY_DELAY = 15
"""Seconds until a record whose payload could not be loaded is read again."""


class Intake:
    """The intake of one pool. Runs on the event loop."""

    def __init__(  # noqa: PLR0913 - one argument per dependency
        self,
        decoder: Decoder,
        scheduler: Scheduler,
        *,
        guard: CrashLoopGuard,
        schemas: SchemaLoader,
        payloads: PayloadLoader,
        forwarding: Forwarding,
        background: BackgroundTasks,
        telemetry: Telemetry,
        tier: Callable[[float], str],
        delays: Sequence[float],
        fail: Callable[[BaseException], None],
    ) -> None:
        """Create an empty intake.

        Args:
            decoder: Decodes records.
            scheduler: Gets the deliveries.
            guard: Records the start of an assignment before its first chunk is decoded.
            schemas: Fetches schemas that the decoder needs.
            payloads: Loads payloads from the storage.
            forwarding: Forwards records that are not deliveries of this pool.
            background: Runs the forwarding.
            telemetry: Gets the time that decoding took.
            tier: The retry topic of the pool for a delay in seconds.
            delays: The delays of the retry tiers in seconds, ascending from 0.
            fail: Ends the process; called with the error of a waiting chunk.
        """
        self._decoder = decoder
        self._scheduler = scheduler
        self._guard = guard
        self._schemas = schemas
        self._payloads = payloads
        self._forwarding = forwarding
        self._background = background
        self._telemetry = telemetry
        self._tier = tier
        self._delays = delays
        self._queues = PartitionQueues(self._try_process, self._process, fail)
        self._closed = False

    def accept(self, chunk: Chunk) -> None:
        """Accept a chunk of an event topic. A chunk of a partition that is being revoked is ignored."""
        if not self._is_ignored(chunk):
            self._queues.put(chunk, None)

    def accept_tier(self, chunk: Chunk, delay: float) -> None:
        """Accept a chunk of a retry tier with this delay (seconds), like `accept`."""
        if not self._is_ignored(chunk):
            self._queues.put(chunk, delay)

    def discard(self, assignments: Collection[Assignment]) -> None:
        """Discard the waiting chunks of these assignments."""
        self._queues.discard(assignments)

    def close(self) -> None:
        """Ignore further chunks, and discard the waiting ones."""
        self._closed = True
        self._queues.close()
        self._payloads.close()

    def _is_ignored(self, chunk: Chunk) -> bool:
        return self._closed or chunk.assignment.revoking or chunk.assignment.revoked

    def _try_process(self, chunk: Chunk, tier_delay: float | None) -> bool:
        """Process a chunk if nothing must be awaited first; False: nothing was done."""
        if not self._guard.is_registered(chunk.assignment) or self._guard.is_isolating:
            return False
        if tier_delay is not None:
            self._process_retries(chunk, tier_delay)
            return True
        try:
            read = self._decoder.decode_chunk(chunk, {})
        except SchemaNotFetchedError:
            return False
        if read.tickets:
            return False
        self._dispatch(chunk, read)
        return True

    async def _process(self, chunk: Chunk, tier_delay: float | None) -> None:
        """Process a chunk after its start is recorded and its schemas and payloads are loaded."""
        await self._guard.register(chunk.assignment)
        if self._guard.is_isolating:
            for record in chunk.records:
                await self._process_isolated(Chunk(chunk.assignment, [record], chunk.fetched_at), record, tier_delay)
            return
        if tier_delay is not None:
            self._process_retries(chunk, tier_delay)
            return
        await self._dispatch_loaded(
            chunk, await self._schemas.decode_when_loaded(partial(self._decoder.decode_chunk, chunk, {}))
        )

    async def _dispatch_loaded(self, chunk: Chunk, read: DecodedChunk) -> None:
        """Dispatch a decoded chunk, after the payloads of its tickets are loaded."""
        if not read.tickets:
            self._dispatch(chunk, read)
            return
        for part in split_chunk(chunk, read.tickets):
            payloads = await self._payloads.load(part)
            decode = partial(self._decoder.decode_chunk, part.chunk, payloads)
            decoded = await self._schemas.decode_when_loaded(decode)
            release_unused(payloads.values())
            self._dispatch(part.chunk, decoded)

    async def _process_isolated(self, chunk: Chunk, record: Record, tier_delay: float | None) -> None:
        """Process a chunk of one record, which is a suspect while it is decoded."""
        decoder, assignment = self._decoder, chunk.assignment
        decode: Callable[[], DecodedChunk | DecodedRecord] = (
            partial(decoder.decode_chunk, chunk, {})
            if tier_delay is None
            else partial(decoder.decode_retry, chunk, record, None)
        )
        while not self._is_ignored(chunk):
            try:
                read = await self._guard.decode_isolated(assignment, record, decode)
            except SchemaNotFetchedError as missing:
                await self._schemas.fetch(missing)
                continue
            if read is None:
                unread = self._decoder.unread(record)
                target = self._forwarding.dead_letter_topic(unread)
                self._background.send(chunk, record, target, self._dead_letter_unread(assignment, unread))
            elif isinstance(read, DecodedChunk):
                await self._dispatch_loaded(chunk, read)
            else:
                self._dispatch_retry(chunk, record, tier_delay or 0.0, read)
            return
        await self._guard.acquit_decoding(assignment, record)

    async def _dead_letter_unread(self, assignment: Assignment, unread: UnreadableRecord) -> None:
        """Dead-letter a record that crashed its process while it was decoded."""
        await self._dead_letter(unread)
        await self._guard.acquit_decoding(assignment, unread.record)

    def _dispatch(self, chunk: Chunk, read: DecodedChunk) -> None:
        if self._is_ignored(chunk):
            return
        chunk.decoded_at = perf_counter()
        handlers = self._decoder.handlers_of(chunk.topic)
        self._telemetry.decoded(read.deliveries[: len(handlers)], chunk.fetched_at)
        for record in read.unavailable:
            unread = self._forwarding.defer_unread(record, handlers, after=STORAGE_RETRY_DELAY)
            self._background.send(chunk, record, self._tier(0.0), unread)
        for unreadable in read.unreadable:
            self._send_dead_letter(chunk, unreadable)
        if over_share := self._scheduler.add(read.deliveries):
            self._background.start(chunk.assignment, self._move_to_tier_zero(over_share))

    def _process_retries(self, chunk: Chunk, tier_delay: float) -> None:
        """Process the records of a tier. A record that must wait does not block the others: a tier has no order."""
        for record in chunk.records:
            if self._is_ignored(chunk):
                return
            try:
                read = self._decoder.decode_retry(chunk, record, None)
            except SchemaNotFetchedError:
                self._queues.run_in_background(chunk.assignment, self._wait_for_schema(chunk, record, tier_delay))
            else:
                if isinstance(read, Delivery):
                    self._telemetry.decoded([read], chunk.fetched_at)
                self._dispatch_retry(chunk, record, tier_delay, read)

    def _dispatch_retry(self, chunk: Chunk, record: Record, tier_delay: float, read: DecodedRecord) -> None:
        if self._is_ignored(chunk):
            return
        if isinstance(read, Delivery):
            self._scheduler.add_retry(read, tier_delay)
        elif isinstance(read, UnreadableRecord):
            self._send_dead_letter(chunk, read)
        elif isinstance(read, Rerouted):
            self._queues.run_in_background(chunk.assignment, self._move_after_wait(chunk, read))
        elif isinstance(read.why, Ticket):
            waiting = self._wait_for_payload(chunk, record, tier_delay, read.why, read)
            self._queues.run_in_background(chunk.assignment, waiting)
        elif read.why == "done":
            chunk.settle(record.offset)
        else:
            due_at, tier = now_ms() + STORAGE_RETRY_DELAY * 1000, self._tier(0.0)
            self._background.send(chunk, record, tier, self._forwarding.moved(record, tier, due_at=due_at))

    async def _wait_for_schema(self, chunk: Chunk, record: Record, tier_delay: float) -> None:
        read = await self._schemas.decode_when_loaded(partial(self._decoder.decode_retry, chunk, record, None))
        self._dispatch_retry(chunk, record, tier_delay, read)

    async def _wait_for_payload(
        self, chunk: Chunk, record: Record, tier_delay: float, ticket: Ticket, missing: MissingPayload
    ) -> None:
        """Wait until a large event is due, and load its payload only then."""
        arrival = Arrival.of(record)
        while True:
            now = arrival.now()
            match next_move(now, due_at_of(record), record.timestamp, tier_delay, self._delays):
                case Run():
                    payload = await self._payloads.load_one(chunk.assignment, ticket, missing.handler)
                    decode = partial(self._decoder.decode_retry, chunk, record, payload)
                    read = await self._schemas.decode_when_loaded(decode)
                    release_unused([payload])
                    self._dispatch_retry(chunk, record, tier_delay, read)
                    return
                case Hop(longer):
                    if not self._is_ignored(chunk):
                        tier = self._tier(longer)
                        self._background.send(chunk, record, tier, self._forwarding.moved(record, tier))
                    return
                case Wait(until):
                    await asyncio.sleep(min(WAKE_INTERVAL, (until - now) / 1000))

    async def _move_after_wait(self, chunk: Chunk, read: Rerouted) -> None:
        await asyncio.sleep(read.wait)
        if not self._is_ignored(chunk):
            moved = self._forwarding.moved(read.record, read.tier, None, **_changes(read))
            self._background.send(chunk, read.record, read.tier, moved)

    async def _move_to_tier_zero(self, over_share: list[Delivery]) -> None:
        """Move deliveries over their tenant's share to tier zero, so that the partition is consumed further."""
        await self._forwarding.move_to_tier_zero(over_share)
        acknowledge_all(over_share)

    def _send_dead_letter(self, chunk: Chunk, read: UnreadableRecord) -> None:
        target = self._forwarding.dead_letter_topic(read)
        self._background.send(chunk, read.record, target, self._dead_letter(read))

    async def _dead_letter(self, read: UnreadableRecord) -> None:
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
    if read.moved_at is not None:
        changes["moved_at"] = read.moved_at
    return changes
