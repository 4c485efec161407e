"""Deletes the executions of the nodes of old workflow runs, with their large values.

Most executions have no large values. One statement finds and deletes those of a batch of runs.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.bounded_deletion import OWNERS_PER_STEP, DeletionStep, check_undeletable
from streams.dify.cleanup.workflow_data import remove_node_executions
from streams.dify.models import WorkflowNodeExecution, WorkflowNodeExecutionOffload
from streams.dify.platform import Platform
from streams.dify.retention.file_owners import by_file_owner, pieces
from streams.dify.retention.step import RetentionStep, TimeBudget
from streams.dify.sql import one_of

NODES_OF = ("workflow-run", "rag-pipeline-run")
"""What triggers the executions of a run's nodes. The index that finds them needs it."""
EXECUTIONS_PER_STATEMENT = 10_000
"""The number of executions that one statement deletes."""
_EXECUTIONS = """
    select execution.id, run.tenant_id, run.id as run_id
    from workflow_runs run
    cross join unnest(cast(:triggers as text[])) as started (by_what)
    cross join lateral (
        select id from workflow_node_executions
        where tenant_id = run.tenant_id and app_id = run.app_id and workflow_id = run.workflow_id
            and triggered_from = started.by_what and workflow_run_id >= run.id and workflow_run_id <= run.id
        order by workflow_run_id
    ) as execution
    where run.id = any(cast(:runs as uuid[]))
    limit :limit
"""
FIND = text(
    f"select cast(id as text), cast(tenant_id as text), cast(run_id as text) from ({_EXECUTIONS}) as found"  # noqa: S608
)
"""The executions of runs. Needs `USE_INDEX_ORDER`."""
DELETE = text(
    f"""
    with execution as materialized ({_EXECUTIONS}), gone as (
        delete from workflow_node_executions where id = any(array(
            select id from execution where not exists (
                select from workflow_node_execution_offload where node_execution_id = execution.id
            )
        ))
        returning id
    )
    select (select count(*) from execution), (select count(*) from gone),
        cast(rest.id as text), cast(rest.tenant_id as text), cast(rest.run_id as text)
    from (select) as one
    left join (select * from execution where id not in (select id from gone)) as rest on true
    """  # noqa: S608 - constants of this module
)
"""Deletes the executions of runs that have no large values. Returns two numbers with each of the others."""
USE_INDEX_ORDER = text("set local enable_sort = off")
"""Three indexes begin with the same columns, and the planner expects one row from each. Only the one that has the run
is in the order of the query. Without this, another one may read all executions of a workflow for each run."""
_SORT_AGAIN = text("set local enable_sort to default")


class Execution(NamedTuple):
    """An execution of a node."""

    id: str
    tenant_id: str
    run_id: str


class Deleted(NamedTuple):
    """What one statement has done."""

    found: int
    removed: int
    rest: list[Execution]
    """Found, but not removed."""


async def remove_executions(
    session: AsyncSession, platform: Platform, run_ids: Sequence[str], budget: TimeBudget, step: RetentionStep
) -> set[str] | None:
    """Delete the executions of runs with their large values and the files of these.

    Args:
        session: the transaction of the step.
        platform: the services.
        run_ids: the runs.
        budget: the time of this step.
        step: counts what is deleted.

    Returns:
        The runs that keep an execution, because it cannot be deleted. None: the time was spent before the end.
    """
    while True:
        before = step.removed.total()
        deleted = await _delete(session, run_ids)
        step.removed[WorkflowNodeExecution.__tablename__] += deleted.removed
        rest = {one.id: one.tenant_id for one in deleted.rest}
        for some in pieces(rest, OWNERS_PER_STEP):
            if not await _remove_with_files(session, platform, some, budget, step):
                return None
        if deleted.found < EXECUTIONS_PER_STATEMENT:
            return await _kept(session, rest)
        if step.removed.total() == before:
            return set(run_ids)  # there may be more than those that cannot be deleted
        if budget.is_spent:
            return None


async def _delete(session: AsyncSession, run_ids: Sequence[str]) -> Deleted:
    """Delete executions without large values. If one of them cannot be deleted, all are returned."""
    parameters = {"runs": list(run_ids), "triggers": list(NODES_OF), "limit": EXECUTIONS_PER_STATEMENT}
    await session.execute(USE_INDEX_ORDER)
    try:
        async with session.begin_nested():
            rows = (await session.execute(DELETE, parameters)).all()
        found, removed, *_ = rows[0]
        deleted = Deleted(found, removed, [Execution(*row[2:]) for row in rows if row[2] is not None])
    except DBAPIError as error:
        check_undeletable(error)
        rest = [Execution(*row) for row in await session.execute(FIND, parameters)]
        deleted = Deleted(len(rest), 0, rest)
    await session.execute(_SORT_AGAIN)
    return deleted


async def _remove_with_files(
    session: AsyncSession, platform: Platform, owners: Mapping[str, str], budget: TimeBudget, step: RetentionStep
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


async def _kept(session: AsyncSession, execution_ids: Mapping[str, str]) -> set[str]:
    """Return the runs of those of the executions that still exist."""
    if not execution_ids:
        return set()
    of_runs = select(WorkflowNodeExecution.workflow_run_id).where(one_of(WorkflowNodeExecution.id, execution_ids))
    return {run_id for run_id in await session.scalars(of_runs) if run_id is not None}
