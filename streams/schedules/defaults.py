"""The schedules of the platform, each behind its setting. They replace Celery Beat's, which must be switched off."""

from streams.schedules.schedule import Schedule
from streams.settings import Settings

HOUR = 3600.0
NIGHTLY_CATCH_UP = 6 * HOUR
PLUGIN_CATCH_UP = 24 * HOUR
DEAD_LETTER_INTERVAL = 30.0
"""Seconds. The first dead letter of a kind alerts within a minute."""


def default_schedules(settings: Settings) -> tuple[Schedule, ...]:
    """Return the schedules of the platform's regular work and of the pipeline's own."""
    return (*_nightly(settings), *_monitoring(settings), *_regular(settings))


def _nightly(settings: Settings) -> tuple[Schedule, ...]:
    """Return the clean-ups. The platform runs three of them on every Nth day of the month, and one every day."""
    days = "*" if settings.schedule_nightly_days == 1 else f"*/{settings.schedule_nightly_days}"
    lines = (
        ("clean-embedding-cache", "embedding-cache", f"0 2 {days} * *", settings.clean_embedding_cache_enabled),
        ("clean-unused-datasets", "unused-datasets", f"0 3 {days} * *", settings.clean_unused_datasets_enabled),
        ("clean-messages", "messages", f"0 4 {days} * *", settings.clean_messages_enabled),
        ("clean-workflow-runlogs", "workflow-runs", "0 2 * * *", settings.clean_workflow_runs_enabled),
    )
    return tuple(
        Schedule(
            name,
            f"{what}.cleanup-requested",
            cron=cron,
            timezone=settings.schedule_timezone,
            catch_up=NIGHTLY_CATCH_UP,
            enabled=enabled,
        )
        for name, what, cron, enabled in lines
    )


def _monitoring(settings: Settings) -> tuple[Schedule, ...]:
    return (
        Schedule(
            "queue-monitor",
            "queues.check-requested",
            every=settings.queue_monitor_interval,
            enabled=settings.queue_monitor_enabled,
        ),
        Schedule(
            "dead-letter-alerts",
            "dead-letters.check-requested",
            every=DEAD_LETTER_INTERVAL,
            catch_up=DEAD_LETTER_INTERVAL,
            enabled=settings.dead_letter_alerts_enabled,
        ),
    )


def _regular(settings: Settings) -> tuple[Schedule, ...]:
    has_plugins = settings.plugin_daemon_url is not None and settings.marketplace_url is not None
    has_tidb = settings.tidb_api_url is not None
    return (
        # A late check finds all tenants whose time has come since, so one run stands for the slots before it.
        Schedule(
            "check-upgradable-plugin",
            "plugins.checks-requested",
            cron="*/15 * * * *",
            overlap="queue",
            catch_up=PLUGIN_CATCH_UP,
            enabled=settings.plugin_checks_enabled and has_plugins,
        ),
        Schedule(
            "mail-clean-document-notify",
            "documents.notices-requested",
            cron="0 10 * * 1",
            timezone=settings.schedule_timezone,
            catch_up=NIGHTLY_CATCH_UP,
            enabled=settings.document_notices_enabled,
        ),
        Schedule(
            "tidb-serverless-create",
            "tidb.clusters-requested",
            cron="0 * * * *",
            enabled=settings.tidb_clusters_enabled and has_tidb,
        ),
        Schedule(
            "tidb-serverless-status",
            "tidb.status-requested",
            cron="*/10 * * * *",
            enabled=settings.tidb_status_enabled and has_tidb,
        ),
    )
