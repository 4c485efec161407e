"""The platform's plugin daemon: which plugins a tenant has installed, and the request to upgrade one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.dify.errors import ExtractionError, PluginDaemonAwayError, ServiceError
from streams.dify.http import JSONObject, Service, Timeouts, as_object, fetch
from streams.observability.logs import get_logger

log = get_logger(__name__)
NAME = "the plugin daemon"
PAGE_SIZE = 256
_MAX_PAGES = 100
_SHOWN = 300
"""Characters of a message of the daemon in the log."""


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """A plugin of a tenant."""

    plugin_id: str
    """Author and name: langgenius/openai."""
    version: str
    identifier: str
    """The id of this version of the plugin: langgenius/openai:0.0.1@<checksum>."""
    source: str
    """marketplace, github, package or remote."""


@dataclass(frozen=True, slots=True)
class PluginDaemon:
    """The daemon's API for the platform."""

    url: str
    key: str | None = field(repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)

    async def installed(self, tenant_id: str) -> list[InstalledPlugin]:
        """Return all plugins of a tenant. Raises BusyError, PluginDaemonAwayError, ServiceError."""
        found: list[InstalledPlugin] = []
        for page in range(1, _MAX_PAGES + 1):
            params = {"page": str(page), "page_size": str(PAGE_SIZE), "response_type": "paged"}
            data = as_object(await self._request("GET", f"plugin/{tenant_id}/management/list", params=params))
            plugins, total = data.get("list"), data.get("total")
            if plugins is None and total == 0:
                return found
            if not isinstance(plugins, list):
                message = f"{NAME} returned no list of plugins"
                raise ServiceError(message)
            found += [_plugin(as_object(one)) for one in plugins]
            if len(plugins) < PAGE_SIZE or (isinstance(total, int) and len(found) >= total):
                return found
        message = f"{NAME} lists more than {_MAX_PAGES * PAGE_SIZE} plugins, or the same ones again"
        raise ServiceError(message)

    async def upgrade(self, tenant_id: str, installed: str, wanted: str) -> None:
        """Ask for another version of a plugin. The daemon installs it in the background.

        Args:
            tenant_id: The tenant.
            installed: The identifier of the installed version.
            wanted: The identifier of the marketplace's version.

        Raises:
            BusyError: The daemon asks for a pause.
            PluginDaemonAwayError: It does not answer.
            ServiceError: It rejects the request.
        """
        body = {
            "original_plugin_unique_identifier": installed,
            "new_plugin_unique_identifier": wanted,
            "source": "marketplace",
            "meta": {"plugin_unique_identifier": wanted},
        }
        if not await self._request("POST", f"plugin/{tenant_id}/management/install/upgrade", json=body):
            message = f"{NAME} has not started the upgrade"
            raise ServiceError(message)

    async def _request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, json: object = None
    ) -> object:
        """Return the `data` of an answer. The code of a successful one is 0."""
        service = Service(NAME, {"X-Api-Key": self.key} if self.key else {}, self.timeouts, PluginDaemonAwayError)
        try:
            answer = await fetch(service, method, f"{self.url.rstrip('/')}/{path}", params=params, json=json)
        except ExtractionError as error:  # The key or the address is wrong, which can be put right.
            raise ServiceError(str(error)) from error
        if answer.get("code") != 0:
            log.warning("the plugin daemon rejects a request", code=answer.get("code"), reason=_reason(answer))
            message = f"{NAME} rejects a request: code {str(answer.get('code'))[:20]}"
            raise ServiceError(message)
        return answer.get("data")


def _reason(answer: JSONObject) -> str:
    return str(answer.get("message", ""))[:_SHOWN]


def _plugin(item: JSONObject) -> InstalledPlugin:
    names = (item.get("plugin_id"), item.get("version"), item.get("plugin_unique_identifier"), item.get("source"))
    if not all(isinstance(name, str) and name for name in names):
        message = f"{NAME} lists a plugin without id, version, identifier or source"
        raise ServiceError(message)
    return InstalledPlugin(*map(str, names))
