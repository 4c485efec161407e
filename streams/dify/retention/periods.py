"""How long old data is kept, from the settings."""

from dataclasses import dataclass

from streams.dify.retention.step import STEP_SECONDS
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class RetentionPeriods:
    """The ages in days after which data is old. Handlers get it by `work.use(RetentionPeriods)`."""

    embedding_cache: int
    messages: int
    workflow_runs: int
    unused_datasets: int
    """For tenants of every plan."""
    unused_sandbox_datasets: int
    """For tenants of the plan sandbox."""
    workflow_runs_batch: int
    """The number of workflow runs that the first statement deletes. After a short one the next is twice as large."""
    step_seconds: float = STEP_SECONDS
    """The time of one step."""


def build_periods(settings: Settings) -> RetentionPeriods:
    """Return the periods of the settings."""
    return RetentionPeriods(
        embedding_cache=settings.clean_embedding_cache_days,
        messages=settings.clean_messages_days,
        workflow_runs=settings.clean_workflow_runs_days,
        unused_datasets=settings.clean_unused_datasets_days,
        unused_sandbox_datasets=settings.clean_unused_datasets_sandbox_days,
        workflow_runs_batch=settings.clean_workflow_runs_batch,
    )
