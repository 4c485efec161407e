"""The cached parameters of a draft's tools are deleted by the names in the event."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from schemas import AppDraftWorkflowSynced
from schemas.apps.app import ToolNode
from streams.agents.apps.tool_parameters import delete_tool_parameters_cache
from streams.delivery import Permanent, Unavailable
from streams.dify.apps.tool_cache import KEYS_PER_CALL, ToolParameterCache
from streams.dify.models import App
from streams.dify.redis import RedisClients
from streams.settings import Settings
from tests.support.platform.app_rows import add_app
from tests.support.platform.handler_runs import Site

SECTION = "The whole domain"
DELETED = "app.draft-workflow-synced: the parameters of its tools are deleted by the parts of their keys"


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    client = Redis.from_url(settings.redis_url.get_secret_value())
    yield client
    await client.aclose()


def _synced(app: App, *nodes: str, **fields: object) -> AppDraftWorkflowSynced:
    tools = [
        ToolNode(node_id=one, provider_type="builtin", provider_id="p", provider_name="time", tool_name="now")
        for one in nodes
    ]
    known = {"app_id": app.id, "tenant_id": app.tenant_id, "workflow_id": str(uuid4()), "tool_nodes": tools}
    return AppDraftWorkflowSynced.model_validate({**known, **fields})


def _key(app: App, node: str) -> str:
    return (
        f"tool_parameter_secret:tenant_id:{app.tenant_id}:provider:builtin.time"
        f":tool_name:now:identity_id:WORKFLOW.{app.id}.{node}"
    )


@pytest.mark.requirement(SECTION, DELETED)
async def test_the_parameters_of_the_named_nodes_go(site: Site, redis: Redis) -> None:
    """A node that the event does not name keeps its parameters. A repetition finds nothing."""
    app = await add_app(site)
    for node in ("1", "2", "3"):
        await redis.set(_key(app, node), "secret", ex=600)

    assert await site.run(delete_tool_parameters_cache, _synced(app, "1", "2", "2")) == {"deleted": 2}
    assert await site.run(delete_tool_parameters_cache, _synced(app, "1", "2")) == {"deleted": 0}

    assert [await redis.exists(_key(app, node)) for node in ("1", "2", "3")] == [0, 0, 1]


async def test_a_draft_with_many_tools_needs_several_calls(site: Site, redis: Redis) -> None:
    app = await add_app(site)
    nodes = [str(number) for number in range(KEYS_PER_CALL + 1)]
    await redis.mset({_key(app, node): "secret" for node in nodes})
    assert await site.run(delete_tool_parameters_cache, _synced(app, *nodes)) == {"deleted": len(nodes)}


@pytest.mark.requirement(SECTION, "app.draft-workflow-synced: while Redis is away the work waits, and is not lost")
async def test_the_work_waits_for_redis(site: Site) -> None:
    """The platform skipped every error."""
    away = RedisClients(lambda: Redis.from_url("redis://127.0.0.1:1/0"))
    cache = ToolParameterCache(away, seconds=5)
    without = replace(site, platform=replace(site.platform, tool_cache=cache))
    event = _synced(await add_app(site), "1")
    with pytest.raises(Unavailable) as found:
        await without.run(delete_tool_parameters_cache, event)
    assert found.value.dependency in delete_tool_parameters_cache.needs
    assert await site.run(delete_tool_parameters_cache, event) == {"deleted": 0}


async def test_an_event_older_than_the_keys_needs_no_redis(site: Site) -> None:
    old = datetime.now(tz=UTC) - timedelta(days=1, minutes=1)
    event = _synced(await add_app(site), "1", occurred_at=old)
    assert await site.run(delete_tool_parameters_cache, event) == {"skipped": "the keys have expired"}


@pytest.mark.requirement(SECTION, "app.draft-workflow-synced: an event of another tenant is a dead letter")
async def test_an_event_of_another_tenant_deletes_nothing(site: Site, redis: Redis) -> None:
    app = await add_app(site)
    await redis.set(_key(app, "1"), "secret", ex=600)
    with pytest.raises(Permanent, match="belongs to another tenant"):
        await site.run(delete_tool_parameters_cache, _synced(app, "1", tenant_id=str(uuid4())))
    assert await redis.exists(_key(app, "1"))
