"""A record on its way to a retry tier or a DLQ, while its settlement is tried again and again."""

import asyncio

from streams.delivery.context import PoolContext
from streams.delivery.execution.time_limits import forget
from streams.delivery.settlement.records import OutgoingRecord
from streams.transport.kafka.records import RecordMetadata


class PendingSend:
    """A record's way to Kafka over all the tries of its settlement.

    A try that ran out of time leaves it under way: the next one goes on waiting for it, so that brokers which are
    away for a minute find one record waiting for them, not one a try.
    """

    def __init__(self, context: PoolContext) -> None:
        self._context = context
        self._under_way: asyncio.Task[RecordMetadata] | None = None

    async def placed(self, outgoing: OutgoingRecord) -> RecordMetadata:
        """Where the record is. Raises ProduceError, or TimeoutError after `settle_timeout`."""
        under_way = self._under_way
        if under_way is None or (under_way.done() and (under_way.cancelled() or under_way.exception() is not None)):
            produce = self._context.records.produce
            under_way = asyncio.create_task(
                produce(outgoing.topic, key=outgoing.key, value=outgoing.value, headers=outgoing.headers)
            )
            under_way.add_done_callback(forget)
            self._under_way = under_way
        async with asyncio.timeout(self._context.settings.settle_timeout):
            return await asyncio.shield(under_way)
