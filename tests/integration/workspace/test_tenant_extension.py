"""A topic without a built-in handler is an extension point: a deployment's package handles it."""

import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from credential_sync import HANDLERS, queue_credential_sync
from redis.asyncio import Redis

from schemas import TenantCreated, TenantUpdated
from streams.agents.built_in import HANDLERS as BUILT_IN
from streams.delivery import Unavailable
from streams.dify.redis import redis_opener
from streams.runtime.declarations import build_catalogue, build_handlers, topics_to_read
from streams.settings import Settings, load_settings
from streams.testing import run

SECTION = "The whole domain"


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"test:sync:{uuid4()}"
    monkeypatch.setenv("CREDENTIAL_SYNC_ENABLED", "true")
    monkeypatch.setenv("CREDENTIAL_SYNC_QUEUE", name)
    return name


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    async with redis_opener(settings)() as client:
        yield client


def created() -> TenantCreated:
    tenant_id = str(uuid4())
    return TenantCreated(tenant_id=tenant_id)


@pytest.mark.requirement(SECTION, "tenant.created: an extension queues the synchronisation of credentials")
async def test_a_new_tenant_is_queued_once(redis: Redis, queue: str) -> None:
    """A repeat after a crash finds its task in the list and leaves one."""
    first, second = created(), created()
    for event in (first, second, first):
        done = await run(queue_credential_sync, event)
        assert isinstance(done.result, dict)
        assert done.result["queued"] is True
    tasks = [json.loads(task) for task in await redis.lrange(queue, 0, -1)]
    assert [(task["workspace_id"], task["source"], task["retry_count"]) for task in tasks] == [
        (first.tenant_id, "workspace_created", 0),
        (second.tenant_id, "workspace_created", 0),
    ]
    assert tasks[0]["task_id"] == str(first.event_id)
    await redis.delete(queue)


@pytest.mark.requirement(SECTION, "tenant.created: the extension does nothing unless its setting allows it")
async def test_nothing_is_queued_unless_it_is_enabled(
    redis: Redis, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIAL_SYNC_ENABLED")
    done = await run(queue_credential_sync, created())
    assert done.result == {"queued": False, "why": "CREDENTIAL_SYNC_ENABLED is not set"}
    assert await redis.exists(queue) == 0


async def test_an_outage_of_redis_costs_no_attempt(
    settings: Settings, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.redis_url
    assert queue
    monkeypatch.setenv("STREAMS_REDIS_URL", "redis://127.0.0.1:1/0")
    load_settings.cache_clear()
    with pytest.raises(Unavailable, match="Redis does not answer"):
        await run(queue_credential_sync, created())


@pytest.mark.requirement(
    SECTION, "tenant.created, tenant.updated: extension points, read only if something handles them"
)
def test_a_topic_is_read_once_a_package_handles_it(settings: Settings) -> None:
    """Without a handler its events stay on the topic, and a handler that comes later finds them."""
    catalogue = build_catalogue(settings)
    topics = {event: catalogue.of(event).name for event in (TenantCreated, TenantUpdated)}
    assert topics_to_read(catalogue, BUILT_IN).isdisjoint(topics.values())
    extended = settings.model_copy(update={"handlers": ("credential_sync",)})
    read = topics_to_read(build_catalogue(extended), build_handlers(extended))
    assert topics[TenantCreated] in read
    assert topics[TenantUpdated] not in read
    assert (queue_credential_sync,) == HANDLERS
