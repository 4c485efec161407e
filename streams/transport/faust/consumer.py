"""Faust's consumer: one poll loop per group. They start when the agents run, and drain when the worker stops."""

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
"""The time limit for the last commit (3 s) and for leaving the group (librdkafka gives up after 5 s)."""


class Consumer(Service, ConsumerT):
    """The consumer groups of this worker. `lag`, `assigned`, `stalled` and `activity` serve the web pages."""

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
        self._poll_loops: list[PollLoop] = []
        self._drained = False

    async def on_start(self) -> None:
        """Let streams take events. Faust blocks them until its own driver has recovered its tables."""
        self.app.flow_control.resume()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Start a poll loop for each group of the app. `topics` are the topics of the groups."""
        listener = self.app.listener
        if listener is None:
            return
        conductor = cast("Conductor", self.app.topics)
        for group in self.app.groups:
            poll_loop = PollLoop(
                group, self.app.settings, listener, on_chunk=conductor.put_chunk, on_failure=self.app.end_after_failure
            )
            self._poll_loops.append(poll_loop)
            poll_loop.start()

    async def wait_empty(self) -> None:
        """Wait up to `drain_timeout` until the listener has finished its running work. Does not wait after a crash."""
        if self._drained:
            return
        self._drained = True
        for poll_loop in self._poll_loops:
            poll_loop.drain()
        if self.app.listener is None or self.app.crashed:
            return
        try:
            await asyncio.wait_for(self.app.listener.drain(), self.app.settings.drain_timeout)
        except TimeoutError:
            logger.warning("work was still running when the drain timed out; it is repeated after the next start")

    async def on_stop(self) -> None:
        """Commit and leave all groups at the same time, within CLOSE_SECONDS."""
        await self.wait_empty()
        await asyncio.gather(*(poll_loop.close(CLOSE_SECONDS) for poll_loop in self._poll_loops))

    def lag(self) -> list[LagSample]:
        """Return the lag of this worker's partitions. Cheap: it uses the last known offsets."""
        return [sample for poll_loop in self._poll_loops for sample in poll_loop.lag()]

    def assigned(self) -> bool:
        """Return True when every group has assigned this worker its partitions, even if it got none."""
        return bool(self._poll_loops) and all(poll_loop.joined() for poll_loop in self._poll_loops)

    def stalled(self) -> bool:
        """Return True when a poll thread has ended or is stuck."""
        return any(poll_loop.stalled() for poll_loop in self._poll_loops)

    def activity(self) -> list[GroupActivity]:
        """Return the counters of each group, for the metrics."""
        return [poll_loop.activity() for poll_loop in self._poll_loops]

    def assignment(self) -> set[TP]:
        """Return the partitions that this worker owns now, over all groups."""
        return {TP(one.topic, one.partition) for poll_loop in self._poll_loops for one in poll_loop.assignments()}

    async def on_task_error(self, exc: BaseException) -> None:
        """Log that an agent raised. The worker ends. Its unsettled records are processed again elsewhere."""
        logger.critical("an agent raised %s: %s; the worker stops, no record is lost", type(exc).__name__, exc)

    @property
    def unacked(self) -> set[Message]:
        """Empty: records are settled, never acknowledged."""
        return self._unacked_messages

    # Parts of Faust's driver interface that this transport does not use: the poll loops pause and commit

    def stop_flow(self) -> None:
        """Do nothing: the drain stops the delivery of chunks."""

    def resume_flow(self) -> None:
        """Do nothing, as `stop_flow`."""

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Do nothing, as `stop_flow`."""

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Do nothing, as `stop_flow`."""

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: the number of unsettled records decides."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing, as `on_buffer_full`."""

    def close(self) -> None:
        """Do nothing: `on_stop` closes."""

    def track_message(self, message: Message) -> None:
        """Do nothing: chunks carry their assignment."""

    def ack(self, message: Message) -> bool:
        """Return False: only `Chunk.settle` advances an offset."""
        return False

    async def commit(
        self,
        topics: TPorTopicSet | None = None,
        start_new_transaction: bool = True,  # noqa: FBT001, FBT002 - Faust's signature
    ) -> bool:
        """Return False: the poll loops commit."""
        return False

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: there are no tables."""

    async def perform_seek(self) -> None:
        """Do nothing: reading starts at the committed offset."""

    def getmany(self, timeout: float) -> Any:
        """Not supported."""
        raise _refusal("getmany")

    async def create_topic(self, topic: str, partitions: int, replication: int, **kwargs: Any) -> None:
        """Not supported: `streams topics apply` creates topics."""
        raise _refusal("create_topic")

    async def position(self, tp: TP) -> int | None:
        """Not supported."""
        raise _refusal("position")

    async def seek(self, partition: TP, offset: int) -> None:
        """Not supported."""
        raise _refusal("seek")

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Not supported."""
        raise _refusal("seek_wait")

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Not supported."""
        raise _refusal("earliest_offsets")

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Not supported."""
        raise _refusal("highwaters")

    def highwater(self, tp: TP) -> int:
        """Not supported."""
        raise _refusal("highwater")

    def topic_partitions(self, topic: str) -> int | None:
        """Not supported."""
        raise _refusal("topic_partitions")

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """Not supported."""
        raise _refusal("key_partition")


def _refusal(what: str) -> NotSupportedError:
    return NotSupportedError(f"the librdkafka transport does not support {what}")
