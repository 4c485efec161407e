"""The settings of the schedules: which run, when, and what they delete.

Their names are not the platform's: both processes may read one file of settings, and a schedule must not run twice.
"""

from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, SecretStr, field_validator

from streams.durations import Seconds
from streams.settings.sources import split_names
from streams.urls import check_urls


class ScheduleSettings(BaseModel):
    """Each schedule has a switch. The defaults are those of the platform."""

    schedule_timezone: str = Field("UTC", description="time zone of the nightly schedules, the platform's LOG_TZ")
    schedule_nightly_days: int = Field(
        1, ge=1, le=31, description="nightly clean-ups run on the days 1, 1+N, … of a month; CELERY_BEAT_SCHEDULER_TIME"
    )
    clean_embedding_cache_enabled: bool = False
    clean_embedding_cache_days: int = Field(30, ge=1, description="age of cached embeddings that are deleted")
    clean_unused_datasets_enabled: bool = False
    clean_unused_datasets_days: int = Field(30, ge=1, description="days without a question, tenants of every plan")
    clean_unused_datasets_sandbox_days: int = Field(7, ge=1, description="the same, tenants of the plan sandbox")
    clean_messages_enabled: bool = False
    clean_messages_days: int = Field(30, ge=1, description="age of messages that are deleted")
    clean_workflow_runs_enabled: bool = False
    clean_workflow_runs_days: int = Field(30, ge=1, description="age of workflow runs whose logs are deleted")
    clean_workflow_runs_batch: int = Field(100, ge=1, le=10_000, description="workflow runs in the first statement")
    plugin_checks_enabled: bool = Field(True, description="only with STREAMS_MARKETPLACE_URL")  # noqa: FBT003
    document_notices_enabled: bool = False
    tidb_clusters_enabled: bool = False
    tidb_status_enabled: bool = False
    tidb_api_url: str | None = None
    tidb_iam_url: str | None = None
    tidb_project_id: str | None = None
    tidb_public_key: str | None = None
    tidb_private_key: SecretStr | None = None
    tidb_region: str = "regions/aws-us-east-1"
    tidb_spend_limit: int = Field(100, ge=0, description="monthly limit of a cluster")
    tidb_free_clusters: int = Field(500, ge=0, description="free clusters to keep, TIDB_SERVERLESS_NUMBER")
    queue_monitor_enabled: bool = False
    queue_monitor_interval: Seconds = Field(1800.0, ge=60, description="QUEUE_MONITOR_INTERVAL is in minutes")
    queue_monitor_lag: int = Field(200, ge=1, description="records of a topic that wait; QUEUE_MONITOR_THRESHOLD")
    queue_monitor_age: Seconds = Field(900.0, ge=1, description="age of the oldest record that waits")
    queue_monitor_dead_letters: int = Field(1, ge=1, description="dead letters of a DLQ that were not replayed")
    celery_broker_url: SecretStr | None = Field(
        None, description="while the platform's Celery still works: its Redis, whose queues are watched too"
    )
    celery_unread_queues: tuple[str, ...] = Field(
        ("celery", "monitor", "priority_dataset", "priority_pipeline", "workflow_draft_var"),
        description="queues that none of the platform's workers reads: one task there is an alert",
    )
    dead_letter_alerts_enabled: bool = False
    alert_emails: tuple[str, ...] = Field((), description="QUEUE_MONITOR_ALERT_EMAILS")
    alert_webhook_url: SecretStr | None = Field(None, description="gets each alert as JSON by POST")

    @field_validator("alert_emails", "celery_unread_queues", mode="before")
    @classmethod
    def _split_lists(cls, value: object) -> object:
        return split_names(value)

    @field_validator("alert_webhook_url")
    @classmethod
    def _check_webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_urls(value.get_secret_value(), ("http", "https"))
        return value

    @field_validator("schedule_timezone")
    @classmethod
    def _check_zone(cls, value: str) -> str:
        return check_zone(value)

    @field_validator("tidb_api_url", "tidb_iam_url")
    @classmethod
    def _check_tidb_url(cls, value: str | None) -> str | None:
        return None if value is None else check_urls(value, ("http", "https"))


def check_zone(name: str) -> str:
    """Return the name of a time zone. Raises ValueError if there is none with this name."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        message = f"there is no time zone {name[:60]!r}; write a name such as UTC or Europe/Berlin"
        raise ValueError(message) from error
    return name
