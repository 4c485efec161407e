"""A revocation in the middle of an isolated run or decoding leaves no suspect. The rows are a dictionary here."""

import asyncio
from collections.abc import Mapping

import pytest
from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import create_async_engine

from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.admission.crash_loop_rows import DELETE_SUSPECT, UNDO_RUN, UPSERT_SUSPECT
from streams.delivery.admission.database_gate import DatabaseGate
from streams.transport.kafka.records import Assignment
from tests.support.factories import a_delivery, a_record

ENGINE = create_async_engine("postgresql+psycopg://nowhere.invalid/none")
"""Never connected: these tests do not use the database."""
ASSIGNMENT = Assignment("document.deleted", 0, "a-group")


class TrialGuard(CrashLoopGuard):
    """A guard whose statements change a dictionary. One of them can wait until its caller is cancelled."""

    def __init__(self, *, failed: bool = False, crashes: int = 0) -> None:
        super().__init__(ENGINE, DatabaseGate(ENGINE), "own", crash=lambda _: None, has_failed=lambda: failed)
        self.row: tuple[int, str] | None = (crashes, "former") if crashes else None
        """The runs of the only suspect, and its worker."""
        self.waits_at: tuple[TextClause, str] | None = None
        self.waiting = asyncio.Event()

    async def _execute(self, statement: TextClause, values: Mapping[str, object]) -> list[Mapping[str, int]]:
        waits = self.waits_at[1] if self.waits_at is not None and self.waits_at[0] is statement else ""
        if waits:
            self.waits_at = None
        if waits != "before":
            self._change(statement, str(values.get("worker")))
        if waits:
            self.waiting.set()
            await asyncio.Event().wait()
        return [{"runs": self.row[0]}] if self.row is not None else []

    def _change(self, statement: TextClause, worker: str) -> None:
        if statement is UPSERT_SUSPECT:
            self.row = (self.row[0] + 1 if self.row else 1, worker)
        elif statement is DELETE_SUSPECT:
            self.row = None
        elif statement is UNDO_RUN:
            if self.row is not None and self.row[1] == worker:
                self.row = (self.row[0] - 1, "") if self.row[0] > 1 else None
        else:
            raise AssertionError(statement)


async def isolated(guard: CrashLoopGuard, way: str, ran: list[str]) -> None:
    """Run or decode a record in isolation."""

    async def run() -> None:
        ran.append("run")

    async def dead_letter(_: int) -> None:
        ran.append("dead letter")

    def decode() -> bool:
        ran.append("decoded")
        return True

    if way == "run":
        await guard.run_isolated(a_delivery(assignment=ASSIGNMENT), run, dead_letter)
    elif await guard.decode_isolated(ASSIGNMENT, a_record(), decode) is None:
        ran.append("dead letter")


async def cancel_at(guard: TrialGuard, way: str, statement: TextClause, moment: str) -> None:
    """Cancel an isolated run or decoding while a statement is executed: before or after it changed the row."""
    guard.waits_at = (statement, moment)
    guard.waiting.clear()
    task = asyncio.create_task(isolated(guard, way, []))
    async with asyncio.timeout(5):
        await guard.waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.requirement("Faults of others", "R15: a cancelled delivery has crashed nothing")
@pytest.mark.parametrize("way", ["run", "decoding"])
@pytest.mark.parametrize("statement", [UPSERT_SUSPECT, DELETE_SUSPECT], ids=["accused", "acquitted"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_revocation_in_a_statement_leaves_no_suspect(way: str, statement: TextClause, moment: str) -> None:
    """However often it happens: the record runs, and is no dead letter."""
    guard, ran = TrialGuard(), list[str]()
    for _ in range(3):
        await cancel_at(guard, way, statement, moment)
        assert guard.row is None
    await isolated(guard, way, ran)
    assert (ran, guard.row) == (["run" if way == "run" else "decoded"], None)


@pytest.mark.requirement("Faults of others", "R15: a cancelled delivery has crashed nothing")
@pytest.mark.parametrize("way", ["run", "decoding"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_revocation_keeps_the_crashes_of_before(way: str, moment: str) -> None:
    """What crashed two processes is a dead letter, also if the partition moves before that is written."""
    guard, ran = TrialGuard(crashes=2), list[str]()
    await cancel_at(guard, way, UPSERT_SUSPECT, moment)
    assert guard.row is not None
    assert guard.row[0] == 2
    await isolated(guard, way, ran)
    assert ran == ["dead letter"]


@pytest.mark.parametrize("statement", [UPSERT_SUSPECT, DELETE_SUSPECT], ids=["accused", "acquitted"])
async def test_the_end_of_a_failed_process_keeps_the_suspect(statement: TextClause) -> None:
    guard = TrialGuard(failed=True)
    await cancel_at(guard, "run", statement, "after" if statement is UPSERT_SUSPECT else "before")
    assert guard.row == (1, "own")
