"""The platform's marketplace: the latest versions of plugins."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.dify.errors import ExtractionError, MarketplaceAwayError, ServiceError
from streams.dify.http import JSONObject, Service, Timeouts, as_object, fetch

NAME = "the marketplace"
IDS_PER_REQUEST = 256


@dataclass(frozen=True, slots=True)
class Marketplace:
    """The marketplace's API."""

    url: str
    timeouts: Timeouts = field(default_factory=Timeouts)

    async def manifests(self, plugin_ids: Sequence[str]) -> dict[str, JSONObject]:
        """Return the manifests of the plugins that the marketplace has, by plugin id.

        Raises BusyError, MarketplaceAwayError, ServiceError.
        """
        found: dict[str, JSONObject] = {}
        for start in range(0, len(plugin_ids), IDS_PER_REQUEST):
            body = {"plugin_ids": list(plugin_ids[start : start + IDS_PER_REQUEST])}
            answer = await self._post("plugins/batch", body)
            plugins = as_object(answer.get("data")).get("plugins")
            if not isinstance(plugins, list):
                message = f"{NAME} returned no list of plugins"
                raise ServiceError(message)
            for manifest in map(as_object, plugins):
                found[str(manifest.get("plugin_id", ""))] = manifest
        return {id_: found[id_] for id_ in plugin_ids if id_ in found}

    async def count_installation(self, identifier: str) -> None:
        """Count an installation in the marketplace's statistics. Raises as `manifests` does."""
        await self._post("stats/plugins/install_count", {"unique_identifier": identifier})

    async def _post(self, path: str, body: object) -> JSONObject:
        service = Service(NAME, {}, self.timeouts, MarketplaceAwayError)
        try:
            return await fetch(service, "POST", f"{self.url.rstrip('/')}/api/v1/{path}", json=body)
        except ExtractionError as error:  # The address is wrong, which can be put right.
            raise ServiceError(str(error)) from error
