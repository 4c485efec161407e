"""Manifests of plugins, cached in Redis under the platform's keys, so that many tenants cause few requests.

The cache is optional. If Redis is unavailable, the marketplace is asked.
"""

from collections.abc import Sequence
from json import dumps, loads

from redis.exceptions import RedisError

from streams.dify.http import JSONObject, as_object
from streams.dify.plugins.marketplace import Marketplace
from streams.dify.redis import RedisClients
from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
KEY = "plugin_autoupgrade_check_task:cached_plugin_manifests:{}"
SECONDS = 900
MISSING = "null"
"""The value for a plugin that the marketplace does not have."""


class ManifestCache:
    """The marketplace behind a cache."""

    def __init__(self, marketplace: Marketplace, redis: RedisClients) -> None:
        """Cache the manifests of a marketplace in Redis."""
        self.marketplace = marketplace
        self._redis = redis

    async def manifests(self, plugin_ids: Sequence[str]) -> dict[str, JSONObject]:
        """Return the manifests of the plugins that the marketplace has, by plugin id. Raises as `Marketplace` does."""
        distinct = list(dict.fromkeys(plugin_ids))
        known = await self._cached(distinct)
        unknown = [id_ for id_ in distinct if id_ not in known]
        if unknown:
            fetched = await self.marketplace.manifests(unknown)
            known |= {id_: fetched.get(id_) for id_ in unknown}
            await self._store({id_: known[id_] for id_ in unknown})
        return {id_: manifest for id_, manifest in known.items() if manifest is not None}

    async def _cached(self, plugin_ids: Sequence[str]) -> dict[str, JSONObject | None]:
        """Return what the cache knows. The value of a plugin that the marketplace does not have is None."""
        try:
            values = await self._redis.current().mget([KEY.format(id_) for id_ in plugin_ids])
        except (RedisError, OSError) as error:
            log.warning("manifests are not cached: Redis does not answer", error=message(error))
            return {}
        found: dict[str, JSONObject | None] = {}
        for id_, value in zip(plugin_ids, values, strict=True):
            try:
                manifest: object = loads(value) if value is not None else False
            except (ValueError, RecursionError):
                continue
            if manifest is None or isinstance(manifest, dict):
                found[id_] = None if manifest is None else as_object(manifest)
        return found

    async def _store(self, manifests: dict[str, JSONObject | None]) -> None:
        try:
            async with self._redis.current().pipeline(transaction=False) as pipeline:
                for id_, manifest in manifests.items():
                    pipeline.set(KEY.format(id_), MISSING if manifest is None else dumps(manifest), ex=SECONDS)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning("manifests are not cached: Redis does not answer", error=message(error))
