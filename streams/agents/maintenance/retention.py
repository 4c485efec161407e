"""Handlers that delete old data. A step works for a limited time, then it publishes the event of the next step."""

from datetime import UTC, datetime

from schemas import (
    EmbeddingCacheCleanupRequested,
    MessagesCleanupRequested,
    UnusedDatasetsCleanupRequested,
    WorkflowRunsCleanupRequested,
)
from schemas.event import new_event_id
from schemas.maintenance.cleanup import CleanupRequested
from streams.agents.error_mapping import mapped_errors
from streams.agents.workspace.coordination_keys import publish_dropped
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import JSON
from streams.dify.accounts.billing import Billing
from streams.dify.platform import Platform
from streams.dify.retention.embedding_cache import delete_old_embeddings
from streams.dify.retention.messages import delete_old_messages
from streams.dify.retention.periods import RetentionPeriods
from streams.dify.retention.plans import SANDBOX, TenantPlans
from streams.dify.retention.step import RetentionStep, cutoff_of, start_budget
from streams.dify.retention.unused_datasets import UnusedDatasets
from streams.dify.retention.workflow_runs import delete_old_runs
from streams.schedules.steps import continue_run

LOCKING_SECONDS = 5.0
"""The time of a step that drops tables. Until it ends, a question to their datasets waits."""
RETRY = Backoff(first="30s", factor=4, attempts=6)


@handles(EmbeddingCacheCleanupRequested, retry=RETRY, soft_time_limit="60s", time_limit="90s")
async def clean_embedding_cache(event: EmbeddingCacheCleanupRequested, work: Work) -> JSON:
    """Delete the cached embeddings that are older than the cutoff."""
    periods = work.use(RetentionPeriods)
    with mapped_errors():
        cutoff = await cutoff_of(work.session, event.cutoff, periods.embedding_cache)
        step = await delete_old_embeddings(work.session, cutoff, event.cursor, start_budget(periods.step_seconds))
    return await _continue(event, work, cutoff, step)


@handles(MessagesCleanupRequested, retry=RETRY, soft_time_limit="2m", time_limit="150s", needs=("billing", "storage"))
async def clean_messages(event: MessagesCleanupRequested, work: Work) -> JSON:
    """Delete the messages that are older than the cutoff, of tenants with the plan sandbox, and those without an app.

    Without billing no tenant has a plan, so only messages without an app are deleted.
    """
    periods = work.use(RetentionPeriods)
    budget = start_budget(periods.step_seconds)
    with mapped_errors():
        cutoff = await cutoff_of(work.session, event.cutoff, periods.messages)
        step = await delete_old_messages(
            work.session,
            work.use(Platform),
            TenantPlans(work.use(Billing), budget),
            cutoff=cutoff,
            cursor=event.cursor,
            budget=budget,
        )
    return await _continue(event, work, cutoff, step)


@handles(WorkflowRunsCleanupRequested, retry=RETRY, soft_time_limit="2m", time_limit="150s", needs="storage")
async def clean_workflow_runs(event: WorkflowRunsCleanupRequested, work: Work) -> JSON:
    """Delete the logs of workflow runs that are older than the cutoff and have ended."""
    periods = work.use(RetentionPeriods)
    with mapped_errors():
        cutoff = await cutoff_of(work.session, event.cutoff, periods.workflow_runs)
        step = await delete_old_runs(
            work.session,
            work.use(Platform),
            cutoff=cutoff,
            cursor=event.cursor,
            budget=start_budget(periods.step_seconds),
            batch=periods.workflow_runs_batch,
        )
    return await _continue(event, work, cutoff, step)


@handles(
    UnusedDatasetsCleanupRequested, retry=RETRY, soft_time_limit="60s", time_limit="90s", needs=("billing", "storage")
)
async def clean_unused_datasets(event: UnusedDatasetsCleanupRequested, work: Work) -> JSON:
    """Remove the index of datasets that nobody has used since the cutoff, and disable their documents.

    A run has two passes: over all tenants, then over those with the plan sandbox, which have less time and get no
    notice. Without billing no tenant has a plan, so there is no second pass.
    """
    periods, billing = work.use(RetentionPeriods), work.use(Billing)
    budget = start_budget(min(periods.step_seconds, LOCKING_SECONDS))
    with mapped_errors():
        if event.plan is not None and billing.url is None:
            return {"done": True, "removed": {}}
        days = periods.unused_datasets if event.plan is None else periods.unused_sandbox_datasets
        cutoff = await cutoff_of(work.session, event.cutoff, days)
        plans = TenantPlans(billing, budget)
        unused = UnusedDatasets(work.session, work.use(Platform), plans, cutoff, event.plan, budget)
        step = await unused.run(event.cursor)
        for one in step.dropped:
            await publish_dropped(work, one.tenant_id, one.collections)
    result = await _continue(event, work, cutoff, step)
    if step.cursor is None and event.plan is None and billing.url is not None:
        second = {"event_id": new_event_id(), "plan": SANDBOX, "cutoff": None, "cursor": None}
        await continue_run(work, event, event.model_copy(update=second))
        result["done"] = False
    return result


async def _continue(event: CleanupRequested, work: Work, cutoff: datetime, step: RetentionStep) -> dict[str, JSON]:
    """Publish the event of the next step, if there is one. Returns what this step has done."""
    if step.cursor is not None:
        same_run = {"event_id": new_event_id(), "cutoff": cutoff.replace(tzinfo=UTC), "cursor": step.cursor}
        await continue_run(work, event, event.model_copy(update=same_run))
    result: dict[str, JSON] = {"done": step.cursor is None, "removed": _counts(step.removed)}
    if kept := _counts(step.kept):
        result["kept"] = kept
    return result


def _counts(counter: dict[str, int]) -> dict[str, JSON]:
    return {name: count for name, count in counter.items() if count}


HANDLERS = (clean_embedding_cache, clean_messages, clean_workflow_runs, clean_unused_datasets)
