"""The lengths of the platform's Celery queues, which are lists in Redis."""

from dataclasses import dataclass

from redis.exceptions import RedisError

from streams.dify.redis import RedisClients, redis_opener
from streams.observability.error_text import message
from streams.settings import Settings, SettingsError

QUEUES = (
    "dataset",
    "priority_dataset",
    "pipeline",
    "priority_pipeline",
    "mail",
    "ops_trace",
    "app_deletion",
    "plugin",
    "workflow_storage",
    "conversation",
    "monitor",
    "workflow_draft_var",
    "celery",
)
"""The queues of the platform's tasks, and Celery's default one."""


class CeleryBrokerError(Exception):
    """The Redis of the platform's Celery does not answer, or rejects the request."""


@dataclass(frozen=True, slots=True)
class CeleryQueues:
    """The queues of one broker."""

    redis: RedisClients
    unread: tuple[str, ...]
    """The queues that no worker reads."""

    async def lengths(self) -> dict[str, int]:
        """Return the number of tasks by queue, in one request. Raises CeleryBrokerError."""
        names = tuple(dict.fromkeys((*QUEUES, *self.unread)))
        try:
            async with self.redis.current().pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.llen(name)
                found = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise CeleryBrokerError(message(error) or type(error).__name__) from error
        return dict(zip(names, map(int, found), strict=True))


def build_celery_queues(settings: Settings) -> CeleryQueues | None:
    """Create the client of STREAMS_CELERY_BROKER_URL; None: it is not set. Raises SettingsError for a wrong URL."""
    if settings.celery_broker_url is None:
        return None
    try:
        opener = redis_opener(settings.model_copy(update={"redis_url": settings.celery_broker_url}))
    except SettingsError as error:
        told = str(error).replace("STREAMS_REDIS_URL", "STREAMS_CELERY_BROKER_URL")
        raise SettingsError(told) from None
    return CeleryQueues(RedisClients(opener), settings.celery_unread_queues)
