"""Deletes the logs of old workflow runs: first their messages and conversations, then the runs.

No index finds the runs of a time. So the runs are read by their primary key.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import and_, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.bounded_deletion import (
    OWNERS_PER_STEP,
    DeletionStep,
    Rows,
    disable_sequential_scans,
    table_of,
    without_parts,
)
from streams.dify.cleanup.workflow_data import remove_node_executions
from streams.dify.ids import checked_id
from streams.dify.models import WorkflowAppLog, WorkflowNodeExecution, WorkflowNodeExecutionOffload, WorkflowRun
from streams.dify.platform import Platform
from streams.dify.retention.file_owners import by_file_owner, pieces
from streams.dify.retention.run_messages import delete_messages_of_runs
from streams.dify.retention.step import RetentionStep, TimeBudget
from streams.dify.sql import one_of

FINAL = ("succeeded", "failed", "stopped", "partial-succeeded")
"""The states of runs that have ended."""
UNFINISHED = timedelta(days=21)
"""How much older than the cutoff a run must be that has not ended. By then nothing continues it."""
RUNS_PER_PAGE = 2_000
"""The number of runs that are read at once."""
NODES_OF = ("workflow-run", "rag-pipeline-run")
"""What triggers the executions of a run's nodes. The index that finds them needs it."""
EXECUTIONS = text(
    """
    select cast(execution.id as text) as id, cast(run.tenant_id as text) as tenant_id
    from workflow_runs run
    cross join unnest(cast(:triggers as text[])) as started (by_what)
    cross join lateral (
        select id from workflow_node_executions
        where tenant_id = run.tenant_id and app_id = run.app_id and workflow_id = run.workflow_id
            and triggered_from = started.by_what and workflow_run_id >= run.id and workflow_run_id <= run.id
        order by workflow_run_id
    ) as execution
    where run.id = any(cast(:runs as uuid[]))
    """
)
"""Three indexes begin with the same columns. Only one has the order: so the planner does not read a whole workflow."""
_SECOND_PART = "runs/"
"""The beginning of the cursors of the second part."""


class OldRun(NamedTuple):
    """A run of a page."""

    id: str
    tenant_id: str
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
        batch: the number of runs that one statement deletes.

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
        for some in pieces({one.id: one.tenant_id for one in page if one.is_old}, batch):
            ended = ended and await _remove_runs(session, platform, list(some), budget, step)
        if page and (ended or not step.removed.total()):
            last = page[-1].id
        if ended and len(page) < RUNS_PER_PAGE:
            return step
        if budget.is_spent or not ended:
            step.cursor = f"{_SECOND_PART}{last}"
            return step


def _old(cutoff: datetime) -> Rows:
    """Return a condition for the runs that are to be deleted."""
    ended = and_(WorkflowRun.created_at < cutoff, WorkflowRun.status.in_(FINAL))
    return or_(ended, WorkflowRun.created_at < cutoff - UNFINISHED)


async def _page(session: AsyncSession, old: Rows, last: str) -> list[OldRun]:
    query = select(WorkflowRun.id, WorkflowRun.tenant_id, old).where(WorkflowRun.id > last)
    return [OldRun(*row) for row in await session.execute(query.order_by(WorkflowRun.id).limit(RUNS_PER_PAGE))]


async def _remove_runs(
    session: AsyncSession, platform: Platform, run_ids: Sequence[str], budget: TimeBudget, step: RetentionStep
) -> bool:
    """Delete runs with the executions of their nodes. Returns False if the time was spent before the end.

    A run that another clean-up has locked is left to it.
    """
    query = select(WorkflowRun.id).where(one_of(WorkflowRun.id, run_ids)).order_by(WorkflowRun.id)
    locked = list(await session.scalars(query.with_for_update(skip_locked=True)))
    for executions in pieces(await _executions(session, locked), OWNERS_PER_STEP):
        if not await _remove_executions(session, platform, executions, budget, step):
            return False
    cleanup = DeletionStep(session, platform, "old workflow runs", None, removed=step.removed)
    while not await cleanup.emptied(table_of(WorkflowAppLog), one_of(WorkflowAppLog.workflow_run_id, locked)):
        pass
    bare = one_of(WorkflowRun.id, locked) & without_parts(WorkflowRun.id, [WorkflowAppLog.workflow_run_id])
    await cleanup.rows(table_of(WorkflowRun), bare)
    return not budget.is_spent


async def _remove_executions(
    session: AsyncSession,
    platform: Platform,
    owners: Mapping[str, str | None],
    budget: TimeBudget,
    step: RetentionStep,
) -> bool:
    """Delete executions with their large values. Returns False if the time was spent before the end."""
    offloaded = WorkflowNodeExecutionOffload.node_execution_id
    large = set(await session.scalars(select(offloaded).where(one_of(offloaded, owners)).distinct()))
    for tenant_id, ids in by_file_owner(owners, large).items():
        cleanup = DeletionStep(session, platform, "old workflow runs", tenant_id, removed=step.removed)
        while not await remove_node_executions(cleanup, one_of(WorkflowNodeExecution.id, ids)):
            if budget.is_spent:
                return False
    return True


async def _executions(session: AsyncSession, run_ids: Sequence[str]) -> dict[str, str | None]:
    """Return the executions of runs with their tenants, by the index whose last column is the run."""
    rows = await session.execute(EXECUTIONS, {"runs": list(run_ids), "triggers": list(NODES_OF)})
    return {row.id: row.tenant_id for row in rows}
