"""The catalogue: the topics, their events, and the pools that process them.

It imports no Kafka client and no Faust, so producers, workers, dashboards and tests can read names here.
"""

import contextlib
import importlib
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType

import schemas
from schemas import Event
from schemas.sensitivity import has_secret, marks_of
from streams.durations import format_duration, parse_duration
from streams.name_errors import unknown_name
from streams.settings import PoolName, Settings, SettingsError

__all__ = [
    "BUILT_IN",
    "POOLS",
    "Catalogue",
    "Pool",
    "Topic",
    "UnknownEventError",
    "load_catalogue",
    "load_topics",
]

HOUR = 3600.0
DAY = 86_400.0
USUAL_RETENTION = 7 * DAY
SECRET_RETENTION = HOUR
"""The retention of a topic whose events have a secret field: its records are not masked, so they are deleted soon."""
INVITATION_RETENTION = 3 * DAY
"""The retention of mails without a code. An invitation's token is valid for 72 hours, so an outage of an hour must not
lose it."""
DLQ_RETENTION = 30 * DAY
RETRY_RECORD_ROOM = 64 * 1024
"""How many bytes a record on a retry topic or a DLQ may be larger than its source, for the added headers."""
MAX_RECORD_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Pool:
    """A consumer group with its workers, and how much work each worker does at the same time."""

    name: PoolName
    priority: int
    """0 is the most urgent. It is shown to operators."""
    concurrency: int
    """The maximum number of units of work that run at the same time in one worker process."""
    prefetch: int
    """The maximum number of unsettled records of a partition in a worker before the partition is paused."""
    connections: int | None = None
    """The number of database connections for handlers in one worker process. None: one per unit of work."""


POOLS: tuple[Pool, ...] = (
    Pool("high", priority=0, concurrency=16, prefetch=4000),
    Pool("default", priority=1, concurrency=8, prefetch=2000),
    Pool("low", priority=2, concurrency=4, prefetch=2000),
)


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic with the events of one class."""

    name: str
    event: type[Event]
    key: str
    """The event's field whose value is the record's key. Deliveries with the same key keep their order."""
    pool: PoolName
    partitions: int | None = None
    """None: the number in the settings."""
    retention: float = 0.0
    """Seconds. It must be below the ledger's retention, or an old event could run again.

    0 means USUAL_RETENTION, or SECRET_RETENTION if the event has a secret field.
    """

    expires: bool = True
    """False: its events never expire. Senders cannot set an expiry time, and workers do not read it."""

    def __post_init__(self) -> None:
        """Set the retention."""
        if not self.retention:
            object.__setattr__(self, "retention", SECRET_RETENTION if self.secret else USUAL_RETENTION)

    @property
    def secret(self) -> bool:
        """True if its events have a field that is marked as secret."""
        return has_secret(marks_of(self.event))

    def key_of(self, event: Event) -> bytes:
        """Return the record's key for an event, as UTF-8."""
        return str(getattr(event, self.key)).encode()


BUILT_IN: tuple[Topic, ...] = (
    Topic("document.index-requested", schemas.DocumentIndexRequested, key="document_id", pool="default"),
    Topic("document.index-created", schemas.DocumentIndexCreated, key="dataset_id", pool="default"),
    Topic("document.sync-requested", schemas.DocumentSyncRequested, key="document_id", pool="default"),
    Topic("document.enabled", schemas.DocumentEnabled, key="document_id", pool="default"),
    Topic("document.disabled", schemas.DocumentDisabled, key="document_id", pool="default"),
    Topic("document.deleted", schemas.DocumentDeleted, key="document_id", pool="low"),
    Topic("documents.deleted", schemas.DocumentsDeleted, key="dataset_id", pool="low"),
    Topic("documents.removal-requested", schemas.DocumentsRemovalRequested, key="dataset_id", pool="low"),
    Topic("dataset.deleted", schemas.DatasetDeleted, key="dataset_id", pool="low"),
    Topic("dataset.index-changed", schemas.DatasetIndexChanged, key="dataset_id", pool="low"),
    Topic("segment.enabled", schemas.SegmentEnabled, key="document_id", pool="default"),
    Topic("segment.disabled", schemas.SegmentDisabled, key="document_id", pool="default"),
    Topic("segment.deleted", schemas.SegmentDeleted, key="document_id", pool="default"),
    Topic("segments.import-requested", schemas.SegmentsImportRequested, key="document_id", pool="default"),
    Topic("pipeline.run-requested", schemas.PipelineRunRequested, key="event_id", pool="default"),
    Topic("message.created", schemas.MessageCreated, key="app_id", pool="high", expires=False),  # all usage is charged
    # These events follow an action of a person, who waits for the result. They are few, so one partition is enough. It
    # can grow.
    Topic("app.created", schemas.AppCreated, key="app_id", pool="high", partitions=1),
    Topic("app.model-config-updated", schemas.AppModelConfigUpdated, key="app_id", pool="high", partitions=1),
    Topic(
        "app.published-workflow-updated", schemas.AppPublishedWorkflowUpdated, key="app_id", pool="high", partitions=1
    ),
    Topic("app.draft-workflow-synced", schemas.AppDraftWorkflowSynced, key="app_id", pool="default"),
    Topic("app.deleted", schemas.AppDeleted, key="app_id", pool="low"),
    Topic("conversation.deleted", schemas.ConversationDeleted, key="event_id", pool="low"),
    Topic("annotation.added", schemas.AnnotationAdded, key="app_id", pool="default"),
    Topic("annotation.updated", schemas.AnnotationUpdated, key="app_id", pool="default"),
    Topic("annotation.deleted", schemas.AnnotationDeleted, key="app_id", pool="default"),
    Topic("annotation-reply.enabled", schemas.AnnotationReplyEnabled, key="app_id", pool="low", partitions=1),
    Topic("annotation-reply.disabled", schemas.AnnotationReplyDisabled, key="app_id", pool="low", partitions=1),
    Topic("annotations.import-requested", schemas.AnnotationsImportRequested, key="app_id", pool="low", partitions=1),
    Topic("workflow.run-saved", schemas.WorkflowRunSaved, key="run_id", pool="high"),
    Topic("workflow.node-execution-saved", schemas.WorkflowNodeExecutionSaved, key="run_id", pool="high"),
    Topic(
        "workflow.draft-variables-deleted",
        schemas.WorkflowDraftVariablesDeleted,
        key="event_id",
        pool="low",
        partitions=1,
    ),
    Topic("trace.recorded", schemas.TraceRecorded, key="event_id", pool="low"),
    Topic("tenant.created", schemas.TenantCreated, key="tenant_id", pool="high", partitions=1),
    Topic("tenant.updated", schemas.TenantUpdated, key="tenant_id", pool="high", partitions=1),
    Topic("account.deletion-requested", schemas.AccountDeletionRequested, key="event_id", pool="low", partitions=1),
    Topic("job.ended", schemas.JobEnded, key="job_id", pool="high", partitions=1),
    Topic("collections.dropped", schemas.CollectionsDropped, key="event_id", pool="high", partitions=1),
    Topic("mail.requested", schemas.MailRequested, key="event_id", pool="high", retention=INVITATION_RETENTION),
    Topic("mail.code-requested", schemas.MailCodeRequested, key="event_id", pool="high"),
    Topic(
        "plugin.upgrade-check-requested", schemas.PluginUpgradeCheckRequested, key="event_id", pool="low", partitions=1
    ),
    # The events of schedules: one step of a run at a time.
    *(
        Topic(name, event, key="event_id", pool="low", partitions=1)
        for name, event in (
            ("embedding-cache.cleanup-requested", schemas.EmbeddingCacheCleanupRequested),
            ("unused-datasets.cleanup-requested", schemas.UnusedDatasetsCleanupRequested),
            ("messages.cleanup-requested", schemas.MessagesCleanupRequested),
            ("workflow-runs.cleanup-requested", schemas.WorkflowRunsCleanupRequested),
            ("plugins.checks-requested", schemas.PluginChecksRequested),
            ("documents.notices-requested", schemas.DocumentNoticesRequested),
            ("tidb.clusters-requested", schemas.TidbClustersRequested),
            ("tidb.status-requested", schemas.TidbStatusRequested),
        )
    ),
    # An alert must not wait behind the work that it is about.
    Topic("queues.check-requested", schemas.QueueCheckRequested, key="event_id", pool="high", partitions=1),
    Topic("dead-letters.check-requested", schemas.DeadLetterCheckRequested, key="event_id", pool="high", partitions=1),
)


class UnknownEventError(LookupError):
    """There is no topic with this name or class. The message has the names most like it."""


class Catalogue:
    """The topics of one deployment, and the names that derive from them.

    All names are those on the cluster, with the prefix.
    """

    def __init__(self, topics: Iterable[Topic], settings: Settings) -> None:
        self._settings = settings
        prefix = settings.topic_prefix
        self.declared = tuple(
            replace(topic, name=prefix + topic.name, partitions=topic.partitions or settings.partitions)
            for topic in topics
        )
        """All topics in the order of their declaration. A worker checks that no two are the same."""
        self._by_name = {topic.name: topic for topic in self.declared}
        self._by_event = {topic.event: topic for topic in self._by_name.values()}

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, name: str) -> Topic | None:
        """Return the topic, or None. For names that records hold: the error of `topic`, with its hint, takes 1 ms."""
        return self._by_name.get(name) or self._by_name.get(self._settings.topic_prefix + name)

    def topic(self, name: str) -> Topic:
        """Return the topic with this name, with or without the prefix. Raises UnknownEventError."""
        if (found := self.find(name)) is None:
            raise UnknownEventError(unknown_name("event", name, self._by_name))
        return found

    def of(self, event: type[Event]) -> Topic:
        """Return the topic of an event class. Raises UnknownEventError."""
        if (found := self._by_event.get(event)) is None:
            message = f"{event.__name__} has no topic in the catalogue"
            raise UnknownEventError(message)
        return found

    def subject(self, topic: str) -> str:
        """Return the registry's subject for a topic's schemas (Confluent's TopicNameStrategy, without the prefix)."""
        return f"{topic.removeprefix(self._settings.topic_prefix)}-value"

    def in_pool(self, pool: PoolName) -> tuple[Topic, ...]:
        """Return the topics that a pool processes."""
        return tuple(topic for topic in self if topic.pool == pool)

    def fallback(self, pool: PoolName) -> Topic:
        """Return the topic whose DLQ gets the pool's dead letters of unknown topics: the first one of the pool."""
        return next(iter(self.in_pool(pool) or self))

    def group(self, pool: PoolName) -> str:
        """Return the pool's consumer group: ``<application>.<pool>``."""
        return f"{self._settings.application}.{pool}"

    def tier(self, pool: PoolName, delay: float) -> str:
        """Return the retry topic of a pool for a delay in seconds: ``<application>.<pool>.retry.<delay>``."""
        return f"{self._settings.topic_prefix}{self.group(pool)}.retry.{format_duration(delay)}"

    def tiers(self, pool: PoolName) -> dict[str, float]:
        """Return the retry topics of a pool with their delays in seconds, shortest first."""
        return {self.tier(pool, delay): delay for delay in self._settings.retry_delays}

    def tier_prefix(self, pool: PoolName) -> str:
        """Return the prefix of all retry topics of a pool, also of those for former delays."""
        return f"{self._settings.topic_prefix}{self.group(pool)}.retry."

    def former_tiers(self, pool: PoolName, existing: Iterable[str]) -> dict[str, float]:
        """Return the pool's existing retry topics for delays that are no longer set, with these delays in seconds."""
        prefix, current = self.tier_prefix(pool), self.tiers(pool)
        former = {}
        for name in existing:
            if name.startswith(prefix) and name not in current:
                with contextlib.suppress(ValueError):
                    former[name] = parse_duration(name.removeprefix(prefix))
        return former

    def tier_partitions(self, pool: PoolName) -> int:
        """Return the largest partition count of the pool's topics. A retry tier has the same number."""
        return max((topic.partitions or 1 for topic in self.in_pool(pool)), default=self._settings.partitions)

    def dlq(self, topic: str) -> str:
        """Return the DLQ of a topic: ``<topic>.<application>.dlq``."""
        return f"{topic}.{self._settings.application}.dlq"


def load_topics(settings: Settings) -> tuple[Topic, ...]:
    """Return the built-in topics and the `TOPICS` of each package in STREAMS_HANDLERS. Raises SettingsError."""
    own = [topic for package in settings.handlers for topic in getattr(import_package(package), "TOPICS", ())]
    topics = (*BUILT_IN, *own)
    for topic in topics:
        if topic.key in (marks_of(topic.event) or {}):
            message = (
                f"{topic.name}: its key field {topic.key} is marked as personal or secret; keys are visible: use an id"
            )
            raise SettingsError(message)
    return topics


_SHOWN = 100
"""Characters of a wrong name in its error."""


def import_package(name: str) -> ModuleType:
    """Import a package of STREAMS_HANDLERS. Raises SettingsError with the place of the error in it."""
    if not all(part.isidentifier() for part in name.split(".")):
        message = f"STREAMS_HANDLERS: {name[:_SHOWN]!r} is not the name of a package, such as company.handlers"
        raise SettingsError(message)
    try:
        return importlib.import_module(name)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if not isinstance(error, ImportError) else ""
        reason = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        message = f"STREAMS_HANDLERS: {name} cannot be imported: {reason}{place}"
        raise SettingsError(message) from error


def load_catalogue(settings: Settings) -> Catalogue:
    """Return the catalogue of a deployment. Producers and workers use the same."""
    return Catalogue(load_topics(settings), settings)
