"""Tasks of accounts, plugins and pipelines."""

from schemas import AccountDeletionRequested, Event, PipelineRunRequested, PluginUpgradeCheckRequested
from streams.publishing.bridges.platform_tasks.task import PlatformTask


def delete_account_task(account_id: str) -> Event:
    """Return the event for an account that a person wants to delete."""
    return AccountDeletionRequested(account_id=account_id)


def process_tenant_plugin_autoupgrade_check_task(  # noqa: PLR0913, PLR0917 - the task's signature
    tenant_id: str,
    strategy_setting: str,
    upgrade_time_of_day: int,
    upgrade_mode: str,
    exclude_plugins: list[str],
    include_plugins: list[str],
) -> Event:
    """Return the event to look for upgrades of a tenant's plugins."""
    return PluginUpgradeCheckRequested(
        tenant_id=tenant_id,
        strategy_setting=strategy_setting,
        upgrade_time_of_day=upgrade_time_of_day,
        upgrade_mode=upgrade_mode,
        exclude_plugins=exclude_plugins,
        include_plugins=include_plugins,
    )


def rag_pipeline_run_task(rag_pipeline_invoke_entities_file_id: str, tenant_id: str) -> Event:
    """Return the event to run a pipeline for a tenant with a waiting list."""
    return PipelineRunRequested(file_id=rag_pipeline_invoke_entities_file_id, tenant_id=tenant_id)


def priority_rag_pipeline_run_task(rag_pipeline_invoke_entities_file_id: str, tenant_id: str) -> Event:
    """Return the event to run a pipeline at once."""
    return PipelineRunRequested(file_id=rag_pipeline_invoke_entities_file_id, tenant_id=tenant_id, priority=True)


TASKS = (
    PlatformTask("tasks.delete_account_task.delete_account_task", delete_account_task),
    PlatformTask(
        "tasks.process_tenant_plugin_autoupgrade_check_task.process_tenant_plugin_autoupgrade_check_task",
        process_tenant_plugin_autoupgrade_check_task,
    ),
    PlatformTask("tasks.rag_pipeline.rag_pipeline_run_task.rag_pipeline_run_task", rag_pipeline_run_task),
    PlatformTask(
        "tasks.rag_pipeline.priority_rag_pipeline_run_task.priority_rag_pipeline_run_task",
        priority_rag_pipeline_run_task,
    ),
)
