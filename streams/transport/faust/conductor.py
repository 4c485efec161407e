"""Puts chunks on Faust's channels: replaces Faust's own Conductor, without acknowledgements and decoding."""

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
"""How long agents may take to start their `async for`."""


class Conductor(ConductorT, Service):
    """The topics that agents iterate over. It subscribes once all agents run, then queues each chunk for its agent.

    There is one agent per topic: two would settle the same records.
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

    def put_chunk(self, chunk: Chunk) -> None:
        """Put a chunk on the queue of its topic's agent. Raises TransportError if the agent has ended."""
        channel = self._channels.get(chunk.topic)
        if channel is None:
            line = f"the agent of {chunk.topic} has ended: its records would never be processed"
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
        # This queue needs no limit: the transport pauses a partition that has too many unsettled records.
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
            line = f"agents did not start to read within {CHANNELS_SECONDS:g} s: {silent}"
            self.app.end_after_failure(StartError(line))
            return
        if not self.should_stop:
            await self.app.consumer.subscribe(names)

    # The set of topics, which streams join and leave

    def add(self, topic: TopicT) -> None:
        """Register the channel of a stream. Raises NotSupportedError for a second channel of the same topic."""
        for name in topic.topics:
            known = self._channels.get(name)
            if known is not None and known.queue is not topic.queue:
                message = f"{name} already has an agent: use one agent per topic"
                raise NotSupportedError(message)
            self._channels[name] = topic
        self._topics.add(topic)
        self._changed.set()

    def discard(self, topic: TopicT) -> None:
        """Remove the channel of a stream that ended."""
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

    # Parts of Faust's interface that this conductor does not need

    @property
    def acking_topics(self) -> set[str]:
        """Empty: records are settled, never acknowledged."""
        return self._acking_topics

    def acks_enabled_for(self, topic: str) -> bool:
        """Return False: only `Chunk.settle` advances an offset."""
        return False

    async def commit(self, topics: TPorTopicSet) -> bool:
        """Do nothing: the poll loops commit."""
        return False

    async def on_client_only_start(self) -> None:
        """Do nothing: client-only mode is not supported."""

    async def wait_for_subscriptions(self) -> None:
        """Do nothing."""

    async def maybe_wait_for_subscriptions(self) -> None:
        """Do nothing."""

    async def on_partitions_assigned(self, assigned: set[TP]) -> None:
        """Do nothing: the listener is called instead."""

    @property
    def label(self) -> str:
        """The name in Faust's service tree."""
        return f"{type(self).__name__}({len(self._topics)})"

    @property
    def shortlabel(self) -> str:
        """The short name in Faust's service tree."""
        return type(self).__name__


async def _refuse_message(message: Message) -> None:
    refusal = f"{message.topic}: this transport delivers chunks, not messages"
    raise NotSupportedError(refusal)
