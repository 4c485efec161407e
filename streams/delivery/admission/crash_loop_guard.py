"""Finds a poison record: one that crashes its worker process. Its attempts are never counted, so no policy ends it.

1. The start of an assignment is recorded with its first offset when its first records arrive. A clean shutdown or
   revocation deletes the row. Any other end keeps it: a kill, and also an orderly end after a failure.
2. At the third start, records are decoded and deliveries run in isolation for a while: one at a time. Each is recorded
   as a suspect before, and the row is deleted when the decoding or the run ends. One that is cancelled does not count.
   A start at another offset than the one before is always the second: there was a crash, and there was progress.
3. What was a suspect at two crashes is dead-lettered with the reason `crashed`.

While a partition has a suspect, its next owner isolates at once. Records before the suspect may have been settled in
the meantime, so the partition may start at another offset.

Long deliveries are not isolated. Their leases show the same: three lost leases make a dead letter.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from sqlalchemy import TextClause
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from streams.delivery.admission.crash_loop_rows import (
    DECODING,
    DELETE_ALL_STARTS,
    DELETE_OLD_SUSPECTS,
    DELETE_STARTS,
    DELETE_SUSPECT,
    SUSPECTS,
    UNDO_RUN,
    UPSERT_START,
    UPSERT_SUSPECT,
    columns_of,
    suspect_of,
)
from streams.delivery.admission.database_gate import DatabaseGate, database_error_kind
from streams.delivery.delivery import Delivery
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.transport.kafka.records import Assignment, Record

T = TypeVar("T")
log = get_logger(__name__)
ISOLATE_FROM_START = 3
"""From this start on, without a clean end in between, deliveries run one at a time."""
RUNS_UNTIL_DEAD = 2
"""Isolated runs that ended with a crash. One may be a coincidence, such as an operator's `kill -9`."""
ISOLATION_SECONDS = 60.0
"""How long a worker isolates deliveries. A later crash is a new start, and isolation begins again."""
PAUSE = 1.0
"""Seconds until a statement that the database rejected is tried again."""


class CrashLoopGuard:
    """The guard of one process, shared by its pools, since a process crashes as a whole. Runs on the event loop."""

    def __init__(
        self,
        engine: AsyncEngine,
        gate: DatabaseGate,
        worker: str,
        crash: Callable[[BaseException], None],
        has_failed: Callable[[], bool] = lambda: False,
    ) -> None:
        """Create a guard that isolates nothing.

        Args:
            engine: The database with the rows of starts and suspects.
            gate: Says whether that database answers.
            worker: The name of this process. No other process has it.
            crash: Ends the process when a background task of the guard fails with an unexpected error.
            has_failed: Returns whether the process ends because of a failure. Then every row stays.
        """
        self._engine = engine
        self._gate = gate
        self._worker = worker
        self._crash = crash
        self._has_failed = has_failed
        self._registered: set[Assignment] = set()
        self._tasks: set[asyncio.Future[None]] = set()
        self._run_lock = asyncio.Lock()
        self._isolation_timer: asyncio.TimerHandle | None = None
        self._suspects: dict[tuple[object, ...], set[tuple[object, object]]] = {}
        """By group, topic and partition: the offsets and handlers of suspects that a crash has left."""

    @property
    def is_isolating(self) -> bool:
        """Whether deliveries run one at a time now. Long deliveries are the exception."""
        return self._isolation_timer is not None

    def suspects(self) -> dict[str, int]:
        """Return by consumer group how many offsets run in isolation because a process died while they ran."""
        found = {assignment.group_id: 0 for assignment in self._registered}
        for (group, *_), suspects in self._suspects.items() if self.is_isolating else ():
            found[str(group)] = found.get(str(group), 0) + len({offset for offset, _ in suspects})
        return found

    def is_registered(self, assignment: Assignment) -> bool:
        """Return whether the start of an assignment is recorded, so that its chunks may be processed."""
        return assignment in self._registered or assignment.start is None

    async def register(self, assignment: Assignment) -> None:
        """Record the start of an assignment, and return when that is done. One caller at a time for each assignment.

        It is called at the first chunk, because a partition without records cannot crash a worker.
        """
        if self.is_registered(assignment):
            return
        try:
            await self._record_start(assignment)
        except asyncio.CancelledError:  # revoked meanwhile; the row may be written
            self._delete_starts([assignment])
            raise
        self._registered.add(assignment)

    def on_revoked(self, assignments: Collection[Assignment]) -> None:
        """Delete the starts of revoked assignments: their records did not crash this process."""
        known = self._registered.intersection(assignments)
        self._registered -= known
        for one in known:
            self._suspects.pop((one.group_id, one.topic, one.partition), None)
        if known:
            self._delete_starts(known)

    def _delete_starts(self, assignments: Collection[Assignment]) -> None:
        if not self._has_failed():
            values = {**columns_of(assignments), "worker": self._worker}
            self._start_task(self._execute_if_available(DELETE_STARTS, values))

    async def close(self, *, clean: bool) -> None:
        """Stop the guard.

        Args:
            clean: True: delete the starts of this process. False: the process failed, so its starts keep counting.
        """
        if self._isolation_timer is not None:
            self._isolation_timer.cancel()
        for task in self._tasks:
            task.cancel()
        if clean and not self._has_failed():
            await self._execute_if_available(DELETE_ALL_STARTS, {"worker": self._worker})

    async def run_isolated(
        self, delivery: Delivery, run: Callable[[], Awaitable[None]], dead_letter: Callable[[int], Awaitable[None]]
    ) -> None:
        """Run a delivery alone, or dead-letter it if `RUNS_UNTIL_DEAD` isolated runs of it ended with a crash.

        Args:
            delivery: What runs.
            run: Runs and settles it.
            dead_letter: Settles it as dead; called in place of `run` with the number of crashes while it did so.
        """
        async with self._run_lock:
            suspect = suspect_of(delivery.assignment, delivery.record, delivery.handler.name)
            runs = await self._accuse(suspect)
            try:
                if runs <= RUNS_UNTIL_DEAD:
                    await run()
                else:
                    await dead_letter(runs - RUNS_UNTIL_DEAD - 1)
            except asyncio.CancelledError:  # revoked or drained: no crash
                await self._end_cancelled(UNDO_RUN, suspect)
                raise
            await self._acquit(suspect)
            if runs > RUNS_UNTIL_DEAD:
                self._end_isolation()

    async def decode_isolated(self, assignment: Assignment, record: Record, decode: Callable[[], T]) -> T | None:
        """Return what `decode` returns for one record; None if it crashed its process `RUNS_UNTIL_DEAD` times.

        In that case the caller dead-letters the record without reading it, then calls `acquit_decoding`.

        Args:
            assignment: The assignment of the record.
            record: What is decoded.
            decode: Decodes it, without awaiting anything.
        """
        async with self._run_lock:
            suspect = suspect_of(assignment, record, DECODING)
            runs = await self._accuse(suspect)
            if runs > RUNS_UNTIL_DEAD:
                return None
            try:
                return decode()
            finally:
                await self._acquit(suspect)

    async def acquit_decoding(self, assignment: Assignment, record: Record) -> None:
        """Delete the suspect of `decode_isolated` after the record was dead-lettered.

        A cancellation keeps the row: the offset is not settled, and the record must never be read again.
        """
        suspect = suspect_of(assignment, record, DECODING)
        await self._execute_until_done(DELETE_SUSPECT, suspect)
        self._forget(suspect)
        self._end_isolation()

    async def _acquit(self, suspect: Mapping[str, object]) -> None:
        """Delete the row of a suspect: what it did has ended. A cancellation does not keep it."""
        try:
            await self._execute_until_done(DELETE_SUSPECT, suspect)
        except asyncio.CancelledError:
            await self._end_cancelled(DELETE_SUSPECT, suspect)
            raise
        self._forget(suspect)

    async def _accuse(self, suspect: Mapping[str, object]) -> int:
        """Record a suspect; return how many isolated runs have begun, this one included. Cancelled, none has begun."""
        try:
            (row,) = await self._execute_until_done(UPSERT_SUSPECT, {**suspect, "worker": self._worker})
        except asyncio.CancelledError:  # the row may be written
            await self._end_cancelled(UNDO_RUN, suspect)
            raise
        if row["runs"] > 1:
            self._remember(suspect)
        if row["runs"] > RUNS_UNTIL_DEAD:
            log.error("record crashed its worker repeatedly; dead-lettering it", **suspect)
        return row["runs"]

    async def _end_cancelled(self, statement: TextClause, suspect: Mapping[str, object]) -> None:
        """Execute a statement although the caller is cancelled, unless the process ends because of a failure."""
        if not self._has_failed():
            self._forget(suspect)
            values = {**suspect, "worker": self._worker}
            await asyncio.shield(self._start_task(self._execute_if_available(statement, values)))

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
            for found in await self._execute_until_done(SUSPECTS, {**partition, "offset": assignment.start}):
                self._remember({**partition, **found})
            self._start_isolation()

    def _remember(self, suspect: Mapping[str, object]) -> None:
        """Note a suspect that a crash has left."""
        self._suspects.setdefault(_partition(suspect), set()).add((suspect["offset"], suspect["handler"]))

    def _forget(self, suspect: Mapping[str, object]) -> None:
        self._suspects.get(_partition(suspect), set()).discard((suspect["offset"], suspect["handler"]))

    def _start_isolation(self) -> None:
        if self._isolation_timer is not None:
            self._isolation_timer.cancel()
        self._isolation_timer = asyncio.get_running_loop().call_later(ISOLATION_SECONDS, self._end_isolation)

    def _end_isolation(self) -> None:
        if self._isolation_timer is not None:
            self._isolation_timer.cancel()
            self._isolation_timer = None

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

    def _start_task(self, work: Awaitable[None]) -> "asyncio.Future[None]":
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Future[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("crash-loop guard failed", exc_info=error)
            self._crash(error)


def _partition(suspect: Mapping[str, object]) -> tuple[object, ...]:
    return suspect["group"], suspect["topic"], suspect["partition"]
