"""The platform's cache of tool parameters in Redis: the secret parameters of a workflow's tools, in clear.

The platform fills it when a workflow runs. A key contains all parts that a node of a saved draft names. So it is
deleted without asking the plugin daemon.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from streams.dify.redis import RedisClients, answer_within

LIFETIME = timedelta(days=1)
"""The time to live of the platform's keys."""
KEYS_PER_CALL = 500
"""The number of keys that one command deletes."""


@dataclass(frozen=True, slots=True)
class CachedTool:
    """A tool of a node of an app's workflow, as the platform's keys name it."""

    tenant_id: str
    app_id: str
    node_id: str
    provider_type: str
    provider_name: str
    tool_name: str

    @property
    def key(self) -> str:
        """The key of its parameters in Redis."""
        return (
            f"tool_parameter_secret:tenant_id:{self.tenant_id}:provider:{self.provider_type}.{self.provider_name}"
            f":tool_name:{self.tool_name}:identity_id:WORKFLOW.{self.app_id}.{self.node_id}"
        )


class ToolParameterCache:
    """The cache in one Redis."""

    def __init__(self, clients: RedisClients, seconds: float) -> None:
        """`seconds` limits one call, including the connection."""
        self._clients = clients
        self._seconds = seconds

    async def delete(self, tools: Iterable[CachedTool]) -> int:
        """Delete the parameters of these tools. Returns the number of deleted keys. Raises RedisAwayError."""
        keys = list(dict.fromkeys(tool.key for tool in tools))
        deleted = 0
        for start in range(0, len(keys), KEYS_PER_CALL):
            async with answer_within(self._seconds):
                deleted += await self._clients.current().delete(*keys[start : start + KEYS_PER_CALL])
        return deleted
