"""Where schemas have their ids, by the settings: a folder of files, or a registry over HTTP."""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

from schemas.registry import COMMITTED, FileRegistry, RegisteredSchema, RegistryError, registry_folder
from streams.schema_registry.confluent import HttpRegistry
from streams.settings import Settings


class SchemaNotFetchedError(Exception):
    """The registry has to be asked first, and who asks may not wait for it: `fetch` does, in another thread."""

    __module__ = "streams.schema_registry"

    def __init__(self, what: object, fetch: Callable[[], object]) -> None:
        """`what`: the same for two of these exactly where one request answers both."""
        super().__init__(f"the schema registry has to be asked for {what}")
        self.what = what
        self.fetch = fetch


class Registry(Protocol):
    """Where schemas have their ids. One over HTTP also raises RegistryUnavailableError."""

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """The schema of an id, without a subject where that is not told; None where the registry does not know it."""

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """Of a subject (`<topic>-value`) the version that a class of those fields stands for."""


class WithoutWaiting:
    """A registry over HTTP as an event loop may ask it: what was not told yet raises SchemaNotFetchedError."""

    def __init__(self, registry: HttpRegistry) -> None:
        self._registry = registry

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """As `Registry.by_id`."""
        try:
            return self._registry.known(schema_id)
        except KeyError:
            raise SchemaNotFetchedError(schema_id, partial(self._registry.by_id, schema_id)) from None

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """As `Registry.own`."""
        try:
            return self._registry.known_own(subject, fields)
        except KeyError:
            raise SchemaNotFetchedError(subject, partial(self._registry.own, subject, fields)) from None


def own_folder(settings: Settings) -> Path:
    """The folder of the schemas that this code's classes stand for. Raises RegistryError for a URL of another kind."""
    if settings.has_http_registry:
        return settings.schema_files or COMMITTED
    return registry_folder(settings.schema_registry_url)


@lru_cache(maxsize=8)
def open_files(folder: Path) -> FileRegistry:
    """The schemas of a folder, read once. Raises RegistryError."""
    return FileRegistry(folder)


def open_http_registry(settings: Settings) -> HttpRegistry:
    """The registry over HTTP of STREAMS_SCHEMA_REGISTRY_URL. Makes no connection. Raises RegistryError."""
    if not settings.has_http_registry:
        message = f"STREAMS_SCHEMA_REGISTRY_URL={settings.schema_registry_url} is no registry over HTTP"
        raise RegistryError(message)
    return HttpRegistry(settings, open_files(own_folder(settings)))


def open_registry(settings: Settings, *, waits: bool) -> Registry:
    """The registry of STREAMS_SCHEMA_REGISTRY_URL. Raises RegistryError.

    `waits`: whether one over HTTP is asked where it is called, which blocks; on an event loop it must not be.
    """
    if not settings.has_http_registry:
        return open_files(own_folder(settings))
    remote = open_http_registry(settings)
    return remote if waits else WithoutWaiting(remote)
