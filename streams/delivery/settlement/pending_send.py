"""A record that is being sent to a retry tier or a DLQ, over the repeated tries of its settlement."""

import asyncio
from dataclasses import dataclass

from streams.delivery.context import Producer
from streams.delivery.execution.time_limits import ignore_outcome
from streams.delivery.settlement.records import OutgoingRecord
from streams.transport.kafka.records import RecordMetadata


@dataclass(frozen=True, slots=True)
class Sender:
    """The producer of retry and DLQ records, and the seconds that one try waits for an acknowledgement."""

    producer: Producer
    timeout: float


class PendingSend:
    """One record that is being sent, over all tries of its settlement.

    A try that times out does not cancel the send; the next try waits for the same record. So after an outage of the
    brokers there is one record, not one per try.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._task: asyncio.Task[RecordMetadata] | None = None

    def another(self) -> "PendingSend":
        """Return the state of another record, of which nothing is sent."""
        return PendingSend(self._sender)

    async def send(self, outgoing: OutgoingRecord) -> RecordMetadata:
        """Send the record, or wait for the send in progress; return its position.

        Raises ProduceError, or TimeoutError after the sender's `timeout`.
        """
        task = self._task
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            produce = self._sender.producer.produce
            task = asyncio.create_task(
                produce(outgoing.topic, key=outgoing.key, value=outgoing.value, headers=outgoing.headers)
            )
            task.add_done_callback(ignore_outcome)
            self._task = task
        async with asyncio.timeout(self._sender.timeout):
            return await asyncio.shield(task)
