"""Finds the record that kills its process: no attempt of it is ever counted, so nothing else would end it.

An assignment of a partition that brings records is noted with the offset at which it begins; a clean end takes the
note back. At the third start on one offset everything but long work runs one at a time for a while, and is noted
before it runs. A delivery that was noted at two deaths is the culprit: it dies as `crashed`. While one such note
stands for a partition its next owner is careful at once: what ran before the culprit may have been settled meanwhile,
so that the partition begins at another offset.

Long work goes on beside it, for its leases tell: what loses three dies before anything could be noted at two deaths.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from sqlalchemy import TextClause, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from streams.delivery.admission.database_gate import DatabaseGate, trouble
from streams.delivery.delivery import Delivery
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.transport.kafka.records import Assignment

log = get_logger(__name__)
CAUTIOUS_FROM = 3
"""Starts on one offset, without a clean end between them, from which on deliveries run one at a time."""
RUNS_UNTIL_DEATH = 2
"""Runs alone that ended with their process; one may be a coincidence, such as an operator's kill -9."""
CAUTION_SECONDS = 60.0
"""How long a worker is careful; what kills it later finds a new start, and is looked for again."""
PAUSE = 1.0
"""Seconds until a note that the database refused is tried again."""
KEPT = "7 days"
"""How long a note of a delivery is kept that nobody runs any more."""

NOTE_START = text(
    """
    insert into streams.partition_starts as s (group_id, topic, partition, next_offset, starts, worker)
    values (:group, :topic, :partition, :offset, 1, :worker)
    on conflict (group_id, topic, partition) do update set
        starts = case when s.next_offset = excluded.next_offset then s.starts + 1 else 1 end,
        next_offset = excluded.next_offset, worker = excluded.worker, started_at = clock_timestamp()
    returning starts, exists (
        select 1 from streams.suspects p where p.group_id = s.group_id and p.topic = s.topic
            and p.partition = s.partition and p."offset" >= s.next_offset
    ) as suspected
    """
)
FORGET_OLD = text(f"delete from streams.suspects where begun_at < clock_timestamp() - interval '{KEPT}'")  # noqa: S608 - a constant
TAKE_BACK = text(
    """
    delete from streams.partition_starts s
    using unnest(cast(:groups as text[]), cast(:topics as text[]), cast(:partitions as int[]))
        as d(group_id, topic, partition)
    where s.group_id = d.group_id and s.topic = d.topic and s.partition = d.partition and s.worker = :worker
    """
)
TAKE_ALL_BACK = text("delete from streams.partition_starts where worker = :worker")
NOTE_RUN = text(
    """
    insert into streams.suspects as s (group_id, topic, partition, "offset", handler, runs, worker)
    values (:group, :topic, :partition, :offset, :handler, 1, :worker)
    on conflict (group_id, topic, partition, "offset", handler) do update set
        runs = s.runs + 1, worker = excluded.worker, begun_at = clock_timestamp()
    returning runs
    """
)
CLEAR = text(
    """
    delete from streams.suspects where group_id = :group and topic = :topic and partition = :partition
        and "offset" = :offset and handler = :handler
    """
)


class CrashLoopGuard:
    """One for all pools of a process, since a process dies as a whole. Lives on the event loop."""

    def __init__(
        self, engine: AsyncEngine, gate: DatabaseGate, worker: str, crash: Callable[[BaseException], None]
    ) -> None:
        """`crash` ends the process, when taking a note back fails by our own fault."""
        self._engine = engine
        self._gate = gate
        self._worker = worker
        self._crash = crash
        self._noted: set[Assignment] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._calm: asyncio.TimerHandle | None = None

    @property
    def cautious(self) -> bool:
        """Whether deliveries run one at a time now."""
        return self._calm is not None

    def has_noted(self, assignment: Assignment) -> bool:
        """Whether the chunks of an assignment may be taken over."""
        return assignment in self._noted or assignment.start is None

    async def noted(self, assignment: Assignment) -> None:
        """Return once the start of an assignment is noted; one caller at a time for each.

        It is called at the first chunk, for a partition without records cannot kill anybody.
        """
        if not self.has_noted(assignment):
            await self._note_start(assignment)
            self._noted.add(assignment)

    def gone(self, assignments: Collection[Assignment]) -> None:
        """These went while the process lived: whatever ran of them did not kill it."""
        known = self._noted.intersection(assignments)
        self._noted -= known
        if known:
            self._begin(self._try(TAKE_BACK, {**self._places(known), "worker": self._worker}))

    async def close(self, *, clean: bool) -> None:
        """The process ends; a clean end takes back its notes, that of a failed engine is one more start."""
        if self._calm is not None:
            self._calm.cancel()
        for task in self._tasks:
            task.cancel()
        if clean:
            await self._try(TAKE_ALL_BACK, {"worker": self._worker})

    async def run_alone(
        self, delivery: Delivery, run: Callable[[], Awaitable[None]], bury: Callable[[], Awaitable[None]]
    ) -> None:
        """Run it while nothing else of the process does, or bury it where that killed the process before."""
        async with self._one_at_a_time:
            identity = {
                "group": delivery.assignment.group_id if delivery.assignment else "",
                "topic": delivery.record.topic,
                "partition": delivery.record.partition,
                "offset": delivery.record.offset,
                "handler": delivery.handler.name,
            }
            (begun,) = await self._surely(NOTE_RUN, {**identity, "worker": self._worker})
            if begun["runs"] <= RUNS_UNTIL_DEATH:
                await run()
                await self._surely(CLEAR, identity)
                return
            log.error("a record kills its worker", **identity)
            await bury()
            await self._surely(CLEAR, identity)
            self._be_calm()

    async def _note_start(self, assignment: Assignment) -> None:
        place = {"group": assignment.group_id, "topic": assignment.topic, "partition": assignment.partition}
        (noted,) = await self._surely(NOTE_START, {**place, "offset": assignment.start, "worker": self._worker})
        if noted["suspected"] or noted["starts"] >= CAUTIOUS_FROM:
            log.warning(
                "workers ended again and again at this partition: deliveries run one at a time for a while",
                seconds=CAUTION_SECONDS,
                topic=assignment.topic,
                partition=assignment.partition,
                offset=assignment.start,
            )
            await self._surely(FORGET_OLD, {})
            self._be_careful()

    def _be_careful(self) -> None:
        if self._calm is not None:
            self._calm.cancel()
        self._calm = asyncio.get_running_loop().call_later(CAUTION_SECONDS, self._be_calm)

    def _be_calm(self) -> None:
        if self._calm is not None:
            self._calm.cancel()
            self._calm = None

    def _places(self, assignments: Collection[Assignment]) -> dict[str, object]:
        return {
            "groups": [assignment.group_id for assignment in assignments],
            "topics": [assignment.topic for assignment in assignments],
            "partitions": [assignment.partition for assignment in assignments],
        }

    async def _surely(self, statement: TextClause, values: Mapping[str, object]) -> list[Mapping[str, int]]:
        """Execute it, however long that takes: without its note nothing may run."""
        while True:
            await self._gate.passed()
            try:
                return await self._execute(statement, values)
            except SQLAlchemyError as error:
                if trouble(error) == "outage":
                    self._gate.trip(error)
                else:
                    log.warning("a note of the crash guard was refused, trying again", error=message(error))
                    await asyncio.sleep(PAUSE)

    async def _try(self, statement: TextClause, values: Mapping[str, object]) -> None:
        """Execute it if the database answers: what stays behind makes a later worker careful, no more."""
        try:
            await self._execute(statement, values)
        except (SQLAlchemyError, OSError) as error:
            log.warning("a note of the crash guard could not be taken back", error=message(error))

    async def _execute(self, statement: TextClause, values: Mapping[str, object]) -> list[Mapping[str, int]]:
        async with self._engine.begin() as connection:
            found = await connection.execute(statement, dict(values))
            return [dict(row) for row in found.mappings()] if found.returns_rows else []

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("the crash guard failed", exc_info=error)
            self._crash(error)
