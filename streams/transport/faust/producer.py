"""Faust's producer interface on the RecordProducer: `topic.send()`, `faust send`, `send_soon`."""

from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from faust.transport.producer import Producer
from faust.types.core import HeadersArg
from faust.types.transports import TransportT
from faust.types.tuples import TP, RecordMetadata

from streams.headers import Headers
from streams.transport.kafka.errors import NotSupportedError
from streams.transport.kafka.records import RecordMetadata as Acknowledged

if TYPE_CHECKING:
    import asyncio

    from streams.transport.faust.app import StreamsApp


class FaustProducer(Producer):
    """Sends Faust's records through the app's RecordProducer, which starts and stops with this service."""

    mundane_level = "debug"

    def __init__(self, transport: TransportT, loop: "asyncio.AbstractEventLoop | None" = None, **kwargs: Any) -> None:
        super().__init__(transport, loop=loop, **kwargs)
        self._records = cast("StreamsApp", transport.app).records

    async def on_start(self) -> None:
        """Start the RecordProducer, then Faust's buffer for `send_soon`."""
        await self._records.start()
        await super().on_start()

    async def on_stop(self) -> None:
        """Send what `send_soon` has buffered, then stop the RecordProducer."""
        if self.buffer.state == "running":
            await self.buffer.flush()
        await self._records.stop()

    async def send(  # noqa: PLR0913, PLR0917 - Faust's signature
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Queue a record and return the future of its acknowledgement.

        Args:
            topic: The topic to produce to.
            key: The record's key.
            value: The record's value.
            partition: The partition. None: chosen by the key.
            timestamp: Seconds since the epoch. None: now.
            headers: The record's headers.
            transactional_id: Not supported.

        Raises:
            NotSupportedError: A `transactional_id` is given.
            ProduceError: The record could not be queued.
        """
        if transactional_id is not None:
            message = "Kafka transactions are not supported: use the outbox"
            raise NotSupportedError(message)
        sent = await self._records.send(
            topic,
            key=key,
            value=value,
            headers=_headers(headers),
            partition=partition,
            timestamp=None if timestamp is None else round(timestamp * 1000),
        )
        acknowledged: asyncio.Future[RecordMetadata] = self.loop.create_future()
        sent.add_done_callback(lambda done: _copy_result(done, acknowledged))
        return acknowledged

    async def send_and_wait(  # noqa: PLR0913, PLR0917 - Faust's signature
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> RecordMetadata:
        """Produce a record and await its acknowledgement. Raises ProduceError."""
        return await (
            await self.send(topic, key, value, partition, timestamp, headers, transactional_id=transactional_id)
        )

    async def flush(self) -> None:
        """Wait for a limited time until all records are acknowledged."""
        if self.buffer.state == "running":
            await self.buffer.flush()
        await self._records.flush()

    async def create_topic(self, topic: str, partitions: int, replication: int, **kwargs: Any) -> None:
        """Not supported: only declared topics may exist. Raises NotSupportedError."""
        message = f"{topic}: a worker creates no topics; use `streams topics apply`"
        raise NotSupportedError(message)

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Not supported: only tables need it. Raises NotSupportedError."""
        message = f"{topic}: the partition of a key is known only to the producer"
        raise NotSupportedError(message)

    def supports_headers(self) -> bool:
        """Return True."""
        return True


def _headers(headers: HeadersArg | None) -> Headers:
    pairs: Iterable[tuple[str, bytes]] = headers.items() if isinstance(headers, Mapping) else headers or ()
    return tuple(pairs)


def _copy_result(done: "asyncio.Future[Acknowledged]", acknowledged: "asyncio.Future[RecordMetadata]") -> None:
    if acknowledged.done():
        return
    if done.cancelled():
        acknowledged.cancel()
    elif (error := done.exception()) is not None:
        acknowledged.set_exception(error)
    else:
        place = done.result()
        acknowledged.set_result(
            RecordMetadata(
                topic=place.topic,
                partition=place.partition,
                topic_partition=TP(place.topic, place.partition),
                offset=place.offset,
            )
        )
