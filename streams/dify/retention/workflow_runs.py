"""Deletes the logs of old workflow runs: first their messages and conversations, then the runs.

No index finds the runs of a time. So the runs are read by their primary key.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.bounded_deletion import (
    DeletionStep,
    Rows,
    disable_sequential_scans,
    table_of,
    without_parts,
)
from streams.dify.ids import checked_id
from streams.dify.models import WorkflowAppLog, WorkflowRun
from streams.dify.platform import Platform
from streams.dify.retention.run_executions import remove_executions
from streams.dify.retention.run_messages import delete_messages_of_runs
from streams.dify.retention.step import RetentionStep, TimeBudget
from streams.dify.sql import as_text, one_of

FINAL = ("succeeded", "failed", "stopped", "partial-succeeded")
"""The states of runs that have ended."""
UNFINISHED = timedelta(days=21)
"""How much older than the cutoff a run must be that has not ended. By then nothing continues it."""
RUNS_PER_PAGE = 2_000
"""The number of runs that are read at once."""
SHORT_SECONDS = 0.25
"""A deletion that takes less time is followed by one of twice as many runs."""
_SECOND_PART = "runs/"
"""The beginning of the cursors of the second part."""


class OldRun(NamedTuple):
    """A run of a page."""

    id: str
    is_old: bool
    """Whether it is to be deleted."""


async def delete_old_runs(  # noqa: PLR0913 - what to delete, how, and how long
    session: AsyncSession,
    platform: Platform,
    *,
    cutoff: datetime,
    cursor: str | None,
    budget: TimeBudget,
    batch: int,
) -> RetentionStep:
    """Delete runs that were created before the cutoff and have ended, with everything that belongs to them.

    A conversation goes when it has no message left. Annotations stay.

    Args:
        session: the transaction of the step.
        platform: the services.
        cutoff: younger runs stay.
        cursor: where the step before ended.
        budget: the time of this step.
        batch: the number of runs that the first statement deletes.

    Raises:
        RefusedError: the cursor is invalid.
    """
    await disable_sequential_scans(session)
    old = _old(cutoff)
    if cursor is None or not cursor.startswith(_SECOND_PART):
        step = await delete_messages_of_runs(session, platform, old, cutoff=cutoff, cursor=cursor, budget=budget)
        if step.cursor is not None:
            return step
        last = str(UUID(int=0))
    else:
        step, last = RetentionStep(), checked_id("cursor", cursor.removeprefix(_SECOND_PART))
    while True:
        page = await _page(session, old, last)
        ended = True
        for some in growing([one.id for one in page if one.is_old], batch):
            ended = ended and await _remove_runs(session, platform, some, budget, step)
        if page and (ended or not step.removed.total()):
            last = page[-1].id
        if ended and len(page) < RUNS_PER_PAGE:
            return step
        if budget.is_spent or not ended:
            step.cursor = f"{_SECOND_PART}{last}"
            return step


def growing(run_ids: Sequence[str], first: int) -> Iterator[Sequence[str]]:
    """Yield the runs in parts. While the deletion of a part takes a short time, the next one is twice as large."""
    place, size = 0, first
    while place < len(run_ids):
        started = time.monotonic()
        yield run_ids[place : place + size]
        place += size
        if time.monotonic() - started < SHORT_SECONDS:
            size *= 2


def _old(cutoff: datetime) -> Rows:
    """Return a condition for the runs that are to be deleted."""
    ended = and_(WorkflowRun.created_at < cutoff, WorkflowRun.status.in_(FINAL))
    return or_(ended, WorkflowRun.created_at < cutoff - UNFINISHED)


async def _page(session: AsyncSession, old: Rows, last: str) -> list[OldRun]:
    query = select(as_text(WorkflowRun.id), old).where(WorkflowRun.id > last)
    return [OldRun(*row) for row in await session.execute(query.order_by(WorkflowRun.id).limit(RUNS_PER_PAGE))]


async def _remove_runs(
    session: AsyncSession, platform: Platform, run_ids: Sequence[str], budget: TimeBudget, step: RetentionStep
) -> bool:
    """Delete runs with the executions of their nodes. Returns False if the time was spent before the end.

    A run that another clean-up has locked is left to it.
    """
    query = select(as_text(WorkflowRun.id)).where(one_of(WorkflowRun.id, run_ids)).order_by(WorkflowRun.id)
    locked = list(await session.scalars(query.with_for_update(skip_locked=True)))
    kept = await remove_executions(session, platform, locked, budget, step)
    if kept is None:
        return False
    going = [run_id for run_id in locked if run_id not in kept]
    cleanup = DeletionStep(session, platform, "old workflow runs", None, removed=step.removed)
    while not await cleanup.emptied(table_of(WorkflowAppLog), one_of(WorkflowAppLog.workflow_run_id, going)):
        pass
    bare = one_of(WorkflowRun.id, going) & without_parts(WorkflowRun.id, [WorkflowAppLog.workflow_run_id])
    await cleanup.rows(table_of(WorkflowRun), bare)
    return not budget.is_spent
