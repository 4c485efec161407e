"""A record on its way to a retry tier or a DLQ, while its settlement is tried again and again."""

import asyncio
from dataclasses import dataclass

from streams.delivery.context import Records
from streams.delivery.execution.time_limits import forget
from streams.delivery.settlement.records import OutgoingRecord
from streams.transport.kafka.records import RecordMetadata


@dataclass(frozen=True, slots=True)
class Sender:
    """The producer of settled records, and how long one try waits for an acknowledgement (seconds)."""

    records: Records
    timeout: float


class PendingSend:
    """One record on its way to Kafka, over all the tries of its settlement.

    A try that ran out of time leaves the record on its way: the next try waits for the same record. So brokers that
    are away for a minute find one record waiting for them, not one of each try.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._under_way: asyncio.Task[RecordMetadata] | None = None

    async def placed(self, outgoing: OutgoingRecord) -> RecordMetadata:
        """Return where the record is. Raises ProduceError, or TimeoutError after the sender's `timeout`."""
        under_way = self._under_way
        if under_way is None or (under_way.done() and (under_way.cancelled() or under_way.exception() is not None)):
            produce = self._sender.records.produce
            under_way = asyncio.create_task(
                produce(outgoing.topic, key=outgoing.key, value=outgoing.value, headers=outgoing.headers)
            )
            under_way.add_done_callback(forget)
            self._under_way = under_way
        async with asyncio.timeout(self._sender.timeout):
            return await asyncio.shield(under_way)
