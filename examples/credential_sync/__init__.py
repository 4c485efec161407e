"""Queues the synchronisation of credentials for new tenants, as the platform itself does from version 1.12 on.

It is an extension: a package that STREAMS_HANDLERS names, with a handler for an event that has no built-in one.
"""

import json

from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from schemas import TenantCreated
from streams.delivery import Unavailable, Work, handles
from streams.settings import load_settings


class SyncSettings(BaseSettings):
    """The extension's own settings, from ``CREDENTIAL_SYNC_…``."""

    model_config = SettingsConfigDict(env_prefix="CREDENTIAL_SYNC_")

    enabled: bool = False
    """Only an enterprise backend reads the queue. Without one, it would grow for ever."""
    queue: str = "enterprise:workspace:sync:queue"
    source: str = "workspace_created"


@handles(TenantCreated, needs="redis")
async def queue_credential_sync(event: TenantCreated, work: Work) -> dict[str, bool | int | str]:
    """Push the tenant to the backend's list. A repeated attempt leaves one task in the list, not two."""
    settings = SyncSettings()
    if not settings.enabled:
        return {"queued": False, "why": "CREDENTIAL_SYNC_ENABLED is not set"}
    task = json.dumps(
        {
            "task_id": str(event.event_id),
            "workspace_id": event.tenant_id,
            "retry_count": 0,
            "created_at": event.occurred_at.isoformat(),
            "source": settings.source,
            "type": "sync_to_workspace",
        }
    )
    try:
        async with _redis() as redis, redis.pipeline(transaction=True) as commands:
            commands.lrem(settings.queue, 0, task)
            commands.lpush(settings.queue, task)
            removed, _ = await commands.execute()
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise Unavailable("redis", f"Redis does not answer: {error}") from error
    return {"queued": True, "attempt": work.attempt, "replaced": removed}


def _redis() -> Redis:
    """Return a client of the platform's Redis. Each wait for it is bounded."""
    settings = load_settings()
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_connect_timeout=settings.redis_connect_timeout,
        socket_timeout=settings.redis_request_timeout,
    )


HANDLERS = (queue_credential_sync,)
