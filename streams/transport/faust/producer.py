"""Faust's producer as a thin cover of the RecordProducer: `topic.send()`, `faust send`, `send_soon`."""

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
    """What Faust sends goes out by the app's RecordProducer, which lives as long as this service."""

    mundane_level = "debug"

    def __init__(self, transport: TransportT, loop: "asyncio.AbstractEventLoop | None" = None, **kwargs: Any) -> None:
        super().__init__(transport, loop=loop, **kwargs)
        self._records = cast("StreamsApp", transport.app).records

    async def on_start(self) -> None:
        """Start the RecordProducer, then Faust's buffer for `send_soon`."""
        await self._records.start()
        await super().on_start()

    async def on_stop(self) -> None:
        """Send what `send_soon` holds, then stop the RecordProducer."""
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
        """Queue a record; the returned future is its acknowledgement. Raises ProduceError; `timestamp` in seconds."""
        if transactional_id is not None:
            message = "Kafka transactions are not supported: publish with the outbox"
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
        sent.add_done_callback(lambda done: _pass_on(done, acknowledged))
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
        """Wait, bounded, until nothing is under way."""
        if self.buffer.state == "running":
            await self.buffer.flush()
        await self._records.flush()

    async def create_topic(self, topic: str, partitions: int, replication: int, **kwargs: Any) -> None:
        """Refused: a topic that nobody declared must not come into being. Raises NotSupportedError."""
        message = f"{topic}: topics are made by `streams topics apply`, never by a worker"
        raise NotSupportedError(message)

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Refused: only tables ask for it. Raises NotSupportedError."""
        message = f"{topic}: where a key goes is the producer's own business"
        raise NotSupportedError(message)

    def supports_headers(self) -> bool:
        """True."""
        return True


def _headers(headers: HeadersArg | None) -> Headers:
    pairs: Iterable[tuple[str, bytes]] = headers.items() if isinstance(headers, Mapping) else headers or ()
    return tuple(pairs)


def _pass_on(done: "asyncio.Future[Acknowledged]", acknowledged: "asyncio.Future[RecordMetadata]") -> None:
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
