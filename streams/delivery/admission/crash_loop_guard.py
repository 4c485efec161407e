"""Finds a poison record: one that crashes its worker process. Its attempts are never counted, so no policy ends it.

1. The start of an assignment is recorded with its first offset when its first records arrive. A clean shutdown or
   revocation deletes the row.
2. At the third start on one offset, deliveries run in isolation for a while: one at a time. Each is recorded as a
   suspect before it runs, and the row is deleted when the run ends.
3. A delivery that was a suspect at two crashes is dead-lettered with the reason `crashed`.

While a partition has a suspect, its next owner isolates at once. Records before the suspect may have been settled in
the meantime, so the partition may start at another offset.

Long deliveries are not isolated. Their leases show the same: three lost leases make a dead letter.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from sqlalchemy import TextClause, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from streams.delivery.admission.database_gate import DatabaseGate, database_error_kind
from streams.delivery.delivery import Delivery
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.transport.kafka.records import Assignment

log = get_logger(__name__)
ISOLATE_FROM_START = 3
"""From this start on one offset, without a clean end in between, deliveries run one at a time."""
RUNS_UNTIL_DEAD = 2
"""Isolated runs that ended with a crash. One may be a coincidence, such as an operator's `kill -9`."""
ISOLATION_SECONDS = 60.0
"""How long a worker isolates deliveries. A later crash is a new start, and isolation begins again."""
PAUSE = 1.0
"""Seconds until a statement that the database rejected is tried again."""
SUSPECT_RETENTION = "7 days"
"""How long the row of a suspect is kept if no worker runs its delivery again."""

UPSERT_START = text(
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
DELETE_OLD_SUSPECTS = text(
    f"delete from streams.suspects where begun_at < clock_timestamp() - interval '{SUSPECT_RETENTION}'"  # noqa: S608 - a constant
)
DELETE_STARTS = text(
    """
    delete from streams.partition_starts s
    using unnest(cast(:groups as text[]), cast(:topics as text[]), cast(:partitions as int[]))
        as d(group_id, topic, partition)
    where s.group_id = d.group_id and s.topic = d.topic and s.partition = d.partition and s.worker = :worker
    """
)
DELETE_ALL_STARTS = text("delete from streams.partition_starts where worker = :worker")
UPSERT_SUSPECT = text(
    """
    insert into streams.suspects as s (group_id, topic, partition, "offset", handler, runs, worker)
    values (:group, :topic, :partition, :offset, :handler, 1, :worker)
    on conflict (group_id, topic, partition, "offset", handler) do update set
        runs = s.runs + 1, worker = excluded.worker, begun_at = clock_timestamp()
    returning runs
    """
)
DELETE_SUSPECT = text(
    """
    delete from streams.suspects where group_id = :group and topic = :topic and partition = :partition
        and "offset" = :offset and handler = :handler
    """
)


class CrashLoopGuard:
    """The guard of one process, shared by its pools, since a process crashes as a whole. Runs on the event loop."""

    def __init__(
        self, engine: AsyncEngine, gate: DatabaseGate, worker: str, crash: Callable[[BaseException], None]
    ) -> None:
        """Create a guard that isolates nothing.

        Args:
            engine: The database with the rows of starts and suspects.
            gate: Says whether that database answers.
            worker: `host:pid` of this process.
            crash: Ends the process when a background task of the guard fails with an unexpected error.
        """
        self._engine = engine
        self._gate = gate
        self._worker = worker
        self._crash = crash
        self._registered: set[Assignment] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._run_lock = asyncio.Lock()
        self._isolation_timer: asyncio.TimerHandle | None = None

    @property
    def is_isolating(self) -> bool:
        """Whether deliveries run one at a time now. Long deliveries are the exception."""
        return self._isolation_timer is not None

    def is_registered(self, assignment: Assignment) -> bool:
        """Return whether the start of an assignment is recorded, so that its chunks may be processed."""
        return assignment in self._registered or assignment.start is None

    async def register(self, assignment: Assignment) -> None:
        """Record the start of an assignment, and return when that is done. One caller at a time for each assignment.

        It is called at the first chunk, because a partition without records cannot crash a worker.
        """
        if not self.is_registered(assignment):
            await self._record_start(assignment)
            self._registered.add(assignment)

    def on_revoked(self, assignments: Collection[Assignment]) -> None:
        """Delete the starts of revoked assignments: their records did not crash this process."""
        known = self._registered.intersection(assignments)
        self._registered -= known
        if known:
            self._start_task(
                self._execute_if_available(DELETE_STARTS, {**self._columns(known), "worker": self._worker})
            )

    async def close(self, *, clean: bool) -> None:
        """Stop the guard.

        Args:
            clean: True: delete the starts of this process. False: the process failed, so its starts keep counting.
        """
        if self._isolation_timer is not None:
            self._isolation_timer.cancel()
        for task in self._tasks:
            task.cancel()
        if clean:
            await self._execute_if_available(DELETE_ALL_STARTS, {"worker": self._worker})

    async def run_isolated(
        self, delivery: Delivery, run: Callable[[], Awaitable[None]], dead_letter: Callable[[], Awaitable[None]]
    ) -> None:
        """Run a delivery alone, or dead-letter it if `RUNS_UNTIL_DEAD` isolated runs of it ended with a crash.

        Args:
            delivery: What runs.
            run: Runs and settles it.
            dead_letter: Settles it as dead; called in place of `run`.
        """
        async with self._run_lock:
            suspect = {
                "group": delivery.assignment.group_id if delivery.assignment else "",
                "topic": delivery.record.topic,
                "partition": delivery.record.partition,
                "offset": delivery.record.offset,
                "handler": delivery.handler.name,
            }
            (row,) = await self._execute_until_done(UPSERT_SUSPECT, {**suspect, "worker": self._worker})
            if row["runs"] <= RUNS_UNTIL_DEAD:
                await run()
                await self._execute_until_done(DELETE_SUSPECT, suspect)
                return
            log.error("record crashed its worker repeatedly; dead-lettering it", **suspect)
            await dead_letter()
            await self._execute_until_done(DELETE_SUSPECT, suspect)
            self._end_isolation()

    async def _record_start(self, assignment: Assignment) -> None:
        partition = {"group": assignment.group_id, "topic": assignment.topic, "partition": assignment.partition}
        (row,) = await self._execute_until_done(
            UPSERT_START, {**partition, "offset": assignment.start, "worker": self._worker}
        )
        if row["suspected"] or row["starts"] >= ISOLATE_FROM_START:
            log.warning(
                "workers ended repeatedly at this partition; deliveries run one at a time for a while",
                seconds=ISOLATION_SECONDS,
                topic=assignment.topic,
                partition=assignment.partition,
                offset=assignment.start,
            )
            await self._execute_until_done(DELETE_OLD_SUSPECTS, {})
            self._start_isolation()

    def _start_isolation(self) -> None:
        if self._isolation_timer is not None:
            self._isolation_timer.cancel()
        self._isolation_timer = asyncio.get_running_loop().call_later(ISOLATION_SECONDS, self._end_isolation)

    def _end_isolation(self) -> None:
        if self._isolation_timer is not None:
            self._isolation_timer.cancel()
            self._isolation_timer = None

    def _columns(self, assignments: Collection[Assignment]) -> dict[str, object]:
        return {
            "groups": [assignment.group_id for assignment in assignments],
            "topics": [assignment.topic for assignment in assignments],
            "partitions": [assignment.partition for assignment in assignments],
        }

    async def _execute_until_done(self, statement: TextClause, values: Mapping[str, object]) -> list[Mapping[str, int]]:
        """Execute a statement, and repeat it until the database accepts it: nothing may run without its row."""
        while True:
            await self._gate.wait_until_open()
            try:
                return await self._execute(statement, values)
            except SQLAlchemyError as error:
                if database_error_kind(error) != "outage" or not await self._gate.confirm(error):
                    log.warning("statement of the crash-loop guard rejected; retrying", error=message(error))
                    await asyncio.sleep(PAUSE)

    async def _execute_if_available(self, statement: TextClause, values: Mapping[str, object]) -> None:
        """Execute a statement once. A row that stays behind only makes a later worker isolate its deliveries."""
        try:
            await self._execute(statement, values)
        except (SQLAlchemyError, OSError) as error:
            log.warning("cannot delete rows of the crash-loop guard", error=message(error))

    async def _execute(self, statement: TextClause, values: Mapping[str, object]) -> list[Mapping[str, int]]:
        async with self._engine.begin() as connection:
            found = await connection.execute(statement, dict(values))
            return [dict(row) for row in found.mappings()] if found.returns_rows else []

    def _start_task(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("crash-loop guard failed", exc_info=error)
            self._crash(error)
