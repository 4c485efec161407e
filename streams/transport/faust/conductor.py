"""Chunks to Faust's channels: the counterpart of Faust's own Conductor, without acknowledgements and decoding."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from faust.types import TP, AppT, Message
from faust.types.topics import TopicT
from faust.types.transports import ConductorT, TPorTopicSet
from faust.types.tuples import ConsumerMessage
from mode import Service

from streams.transport.kafka.errors import NotSupportedError, StartError, TransportError
from streams.transport.kafka.records import Chunk

if TYPE_CHECKING:
    from streams.transport.faust.app import StreamsApp

CHANNELS_SECONDS = 10.0
"""How long agents may take to begin their `async for`."""


class Conductor(ConductorT, Service):
    """The topics that agents iterate over. It subscribes once all agents run, then puts each chunk on its queue.

    One agent a topic: two would settle the same records.
    """

    mundane_level = "debug"

    app: "StreamsApp"
    on_message: Callable[[Message], Awaitable[None]]

    def __init__(self, app: AppT, **kwargs: Any) -> None:
        Service.__init__(self, **kwargs)
        self.app = cast("StreamsApp", app)
        self.on_message = _refuse_message
        self._acking_topics: set[str] = set()  # read by Faust's compiled stream iterator; empty: nothing is acked
        self._topics: set[TopicT] = set()
        self._channels: dict[str, TopicT] = {}
        self._changed = asyncio.Event()

    def hand_over(self, chunk: Chunk) -> None:
        """Put a chunk on the queue of its topic's agent. Raises TransportError where there is none any more."""
        channel = self._channels.get(chunk.topic)
        if channel is None:
            line = f"{chunk.topic} has no agent any more, so its records would wait for ever"
            raise TransportError(line)
        message = ConsumerMessage(
            chunk.topic,
            chunk.partition,
            chunk.records[-1].offset,
            timestamp=chunk.records[-1].timestamp / 1000,
            timestamp_type=0,
            headers=None,
            key=None,
            value=None,
            checksum=None,
            tp=TP(chunk.topic, chunk.partition),
            generation_id=self.app.consumer_generation_id,
        )
        # The bound on what waits here is the transport's: a partition is paused when too much of it is unsettled.
        channel.queue.force_put_nowait(self.app.create_event(None, chunk, None, message))

    @Service.task
    async def _subscribe(self) -> None:
        await self.app.agents.wait_until_agents_started()
        names = {name for group in self.app.groups for name in group.topics}
        try:
            async with asyncio.timeout(CHANNELS_SECONDS):
                while not names <= self._channels.keys():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            silent = ", ".join(sorted(names - self._channels.keys()))
            line = f"agents did not begin to read within {CHANNELS_SECONDS:g} s: {silent}"
            self.app.end_after_failure(StartError(line))
            return
        if not self.should_stop:
            await self.app.consumer.subscribe(names)

    # The set of topics, as streams join and leave it

    def add(self, topic: TopicT) -> None:
        """Register the channel of a stream. Raises NotSupportedError for a second one on the same topic."""
        for name in topic.topics:
            known = self._channels.get(name)
            if known is not None and known.queue is not topic.queue:
                message = f"{name} has a reader already: one agent a topic"
                raise NotSupportedError(message)
            self._channels[name] = topic
        self._topics.add(topic)
        self._changed.set()

    def discard(self, topic: TopicT) -> None:
        """Forget the channel of a stream that ended."""
        self._topics.discard(topic)
        for name in topic.topics:
            if self._channels.get(name) is topic:
                del self._channels[name]

    def __contains__(self, topic: object) -> bool:
        return topic in self._topics

    def __iter__(self) -> Iterator[TopicT]:
        return iter(self._topics)

    def __len__(self) -> int:
        return len(self._topics)

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    # What Faust asks of a conductor and this one has no use for

    @property
    def acking_topics(self) -> set[str]:
        """None: records are settled, never acked."""
        return self._acking_topics

    def acks_enabled_for(self, topic: str) -> bool:
        """False: only `Chunk.settle` moves an offset."""
        return False

    async def commit(self, topics: TPorTopicSet) -> bool:
        """Nothing: the engines commit."""
        return False

    async def on_client_only_start(self) -> None:
        """Nothing: client-only mode is refused."""

    async def wait_for_subscriptions(self) -> None:
        """Nothing to wait for."""

    async def maybe_wait_for_subscriptions(self) -> None:
        """Nothing to wait for."""

    async def on_partitions_assigned(self, assigned: set[TP]) -> None:
        """Nothing: the listener is told."""

    @property
    def label(self) -> str:
        """The name in Faust's service tree."""
        return f"{type(self).__name__}({len(self._topics)})"

    @property
    def shortlabel(self) -> str:
        """As `label`."""
        return type(self).__name__


async def _refuse_message(message: Message) -> None:
    refusal = f"{message.topic}: this transport hands over chunks, not messages"
    raise NotSupportedError(refusal)
