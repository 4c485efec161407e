"""Opens the schema registry that the settings name: a folder of files, or a registry over HTTP."""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

from schemas.registry import COMMITTED, FileRegistry, RegisteredSchema, RegistryError, registry_folder
from streams.schema_registry.confluent import HttpRegistry
from streams.settings import Settings


class SchemaNotFetchedError(Exception):
    """The registry must be asked first, but this caller must not block. Call `fetch` in another thread."""

    __module__ = "streams.schema_registry"

    def __init__(self, what: object, fetch: Callable[[], object]) -> None:
        """Keep the request. `what` is equal for two errors if and only if one request answers both."""
        super().__init__(f"the schema registry has to be asked for {what}")
        self.what = what
        self.fetch = fetch


class Registry(Protocol):
    """Assigns ids to schemas. A registry over HTTP also raises RegistryUnavailableError."""

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """Return the schema of an id, or None if the id is unknown. The schema's subject may be unknown."""

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """Return the version of a subject (`<topic>-value`) for a class with these fields."""


class NonBlockingRegistry:
    """A registry over HTTP for an event loop. It raises SchemaNotFetchedError for schemas that are not cached yet."""

    def __init__(self, registry: HttpRegistry) -> None:
        self._registry = registry

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """Return the schema of an id, as `Registry.by_id` does."""
        try:
            return self._registry.cached(schema_id)
        except KeyError:
            raise SchemaNotFetchedError(schema_id, partial(self._registry.by_id, schema_id)) from None

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """Return the version for a class, as `Registry.own` does."""
        try:
            return self._registry.cached_own(subject, fields)
        except KeyError:
            raise SchemaNotFetchedError(subject, partial(self._registry.own, subject, fields)) from None


def schema_folder(settings: Settings) -> Path:
    """Return the folder with the schemas of this version's classes. Raises RegistryError for another kind of URL."""
    if settings.has_http_registry:
        return settings.schema_files or COMMITTED
    return registry_folder(settings.schema_registry_url)


@lru_cache(maxsize=8)
def open_files(folder: Path) -> FileRegistry:
    """Return the schemas of a folder, which is read once. Raises RegistryError."""
    return FileRegistry(folder)


def open_http_registry(settings: Settings) -> HttpRegistry:
    """Return the registry of STREAMS_SCHEMA_REGISTRY_URL, without connecting to it. Raises RegistryError."""
    if not settings.has_http_registry:
        message = f"STREAMS_SCHEMA_REGISTRY_URL={settings.schema_registry_url} is not a registry over HTTP"
        raise RegistryError(message)
    return HttpRegistry(settings, open_files(schema_folder(settings)))


def open_registry(settings: Settings, *, blocking: bool) -> Registry:
    """Return the registry of STREAMS_SCHEMA_REGISTRY_URL.

    Args:
        settings: The registry's URL.
        blocking: Whether a registry over HTTP may block the caller. False on an event loop.

    Raises:
        RegistryError: The registry cannot be opened.
    """
    if not settings.has_http_registry:
        return open_files(schema_folder(settings))
    remote = open_http_registry(settings)
    return remote if blocking else NonBlockingRegistry(remote)
