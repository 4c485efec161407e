"""Faust's consumer: one engine a group, started when the agents run, drained and closed when the worker stops."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from faust.types import TP, Message
from faust.types.transports import (
    ConsumerCallback,
    ConsumerT,
    PartitionsAssignedCallback,
    PartitionsRevokedCallback,
    TPorTopicSet,
    TransportT,
)
from mode import Service

from streams.transport.faust.conductor import Conductor
from streams.transport.kafka.errors import NotSupportedError
from streams.transport.kafka.group import GroupActivity, LagSample
from streams.transport.kafka.poll_loop import PollLoop

if TYPE_CHECKING:
    from streams.transport.faust.app import StreamsApp

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 9.0
"""Bound on the last commit (3 s) and on leaving the group (librdkafka gives up after 5 s)."""


class Consumer(Service, ConsumerT):
    """The consumer groups of this worker. `lag`, `assigned`, `stalled` and `activity` are for the web pages."""

    mundane_level = "debug"

    def __init__(  # noqa: PLR0913 - Faust's signature
        self,
        transport: TransportT,
        callback: ConsumerCallback,
        on_partitions_revoked: PartitionsRevokedCallback,
        on_partitions_assigned: PartitionsAssignedCallback,
        *,
        commit_interval: float | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(loop=loop, **kwargs)
        self.transport = transport
        self.app = cast("StreamsApp", transport.app)
        self.in_transaction = False
        self.randomly_assigned_topics: set[str] = set()
        self._unacked_messages: set[Message] = set()  # read by Faust's compiled stream iterator
        self._engines: list[PollLoop] = []
        self._drained = False

    async def on_start(self) -> None:
        """Let streams take events: Faust holds them until its own driver has recovered its tables."""
        self.app.flow_control.resume()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Start an engine for each group of the app; `topics` are those of the groups."""
        listener = self.app.listener
        if listener is None:
            return
        conductor = cast("Conductor", self.app.topics)
        for group in self.app.groups:
            engine = PollLoop(
                group, self.app.settings, listener, hand_over=conductor.hand_over, died=self.app.end_after_failure
            )
            self._engines.append(engine)
            engine.start()

    async def wait_empty(self) -> None:
        """Let the listener finish what runs, within `drain_timeout`. After a crash nothing is waited for."""
        if self._drained:
            return
        self._drained = True
        for engine in self._engines:
            engine.drain()
        if self.app.listener is None or self.app.crashed:
            return
        try:
            await asyncio.wait_for(self.app.listener.drain(), self.app.settings.drain_timeout)
        except TimeoutError:
            logger.warning("work was still under way when the drain ended; it is done again after the next start")

    async def on_stop(self) -> None:
        """Commit and leave the groups, all at once and within CLOSE_SECONDS."""
        await self.wait_empty()
        await asyncio.gather(*(engine.close(CLOSE_SECONDS) for engine in self._engines))

    def lag(self) -> list[LagSample]:
        """How far behind this worker's partitions are, by group; cheap, from what was last seen."""
        return [sample for engine in self._engines for sample in engine.lag()]

    def assigned(self) -> bool:
        """True when every group has given this worker its share, be it nothing."""
        return bool(self._engines) and all(engine.joined() for engine in self._engines)

    def stalled(self) -> bool:
        """True when a poll thread is dead or stuck."""
        return any(engine.stalled() for engine in self._engines)

    def activity(self) -> list[GroupActivity]:
        """Counters by group, for metrics."""
        return [engine.activity() for engine in self._engines]

    def assignment(self) -> set[TP]:
        """The partitions held now, over all groups."""
        return {TP(one.topic, one.partition) for engine in self._engines for one in engine.assignments()}

    async def on_task_error(self, exc: BaseException) -> None:
        """Say that an agent raised. The worker ends: nothing it held is settled, so another does it again."""
        logger.critical("an agent raised %s: %s; the worker ends and nothing is lost", type(exc).__name__, exc)

    @property
    def unacked(self) -> set[Message]:
        """Nothing: records are settled, never acked."""
        return self._unacked_messages

    # What Faust's driver interface has and this transport does otherwise: pausing and offsets are the engines'

    def stop_flow(self) -> None:
        """Nothing: the drain stops the hand-over."""

    def resume_flow(self) -> None:
        """Nothing: as `stop_flow`."""

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Nothing: as `stop_flow`."""

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Nothing: as `stop_flow`."""

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: unsettled records are what counts."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing: as `on_buffer_full`."""

    def close(self) -> None:
        """Nothing: `on_stop` closes."""

    def track_message(self, message: Message) -> None:
        """Nothing: chunks carry their assignment."""

    def ack(self, message: Message) -> bool:
        """False: only `Chunk.settle` moves an offset."""
        return False

    async def commit(
        self,
        topics: TPorTopicSet | None = None,
        start_new_transaction: bool = True,  # noqa: FBT001, FBT002 - Faust's signature
    ) -> bool:
        """False: the engines commit."""
        return False

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Nothing: there are no tables."""

    async def perform_seek(self) -> None:
        """Nothing: reading begins at the committed offset."""

    def getmany(self, timeout: float) -> Any:
        """Refused."""
        raise _refusal("getmany")

    async def create_topic(self, topic: str, partitions: int, replication: int, **kwargs: Any) -> None:
        """Refused: topics are made by `streams topics apply`."""
        raise _refusal("create_topic")

    async def position(self, tp: TP) -> int | None:
        """Refused."""
        raise _refusal("position")

    async def seek(self, partition: TP, offset: int) -> None:
        """Refused."""
        raise _refusal("seek")

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Refused."""
        raise _refusal("seek_wait")

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Refused."""
        raise _refusal("earliest_offsets")

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Refused."""
        raise _refusal("highwaters")

    def highwater(self, tp: TP) -> int:
        """Refused."""
        raise _refusal("highwater")

    def topic_partitions(self, topic: str) -> int | None:
        """Refused."""
        raise _refusal("topic_partitions")

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """Refused."""
        raise _refusal("key_partition")


def _refusal(what: str) -> NotSupportedError:
    return NotSupportedError(f"{what} is not part of the librdkafka transport")
