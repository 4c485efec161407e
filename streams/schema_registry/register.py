"""Registers the schemas of the event classes in a registry over HTTP, with their compatibility levels."""

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.registry import FileRegistry, RegisteredSchema, RegistryError
from streams.schema_registry.confluent import HttpRegistry
from streams.topics import Catalogue, Topic


@dataclass(frozen=True, slots=True)
class Registered:
    """One version in the registry. The registry's ids differ from those of the files."""

    subject: str
    version: int
    """The version in the files."""
    id: int | None
    """None: the version was listed, not registered."""
    compatibility: str


def versions_to_register(catalogue: Catalogue, files: FileRegistry) -> list[tuple[Topic, RegisteredSchema]]:
    """Return every version of the catalogue's events with its topic, oldest first.

    Old versions are needed too, since consumers read records of each. Raises RegistryError if an event has no version
    or only a draft.
    """
    found: list[tuple[Topic, RegisteredSchema]] = []
    for topic in catalogue:
        versions = files.versions(catalogue.subject(topic.name))
        if not versions:
            message = f"{topic.name} has no schema in {files.folder}: run `streams schemas export`"
            raise RegistryError(message)
        if versions[-1].draft:
            message = f"{versions[-1].file} is a draft: run `streams schemas export` to make it final"
            raise RegistryError(message)
        found.extend((topic, version) for version in versions)
    return found


def register(catalogue: Catalogue, registry: HttpRegistry) -> Iterator[Registered]:
    """Register missing versions, and set each subject's compatibility level. It is safe to repeat this.

    Raises:
        IncompatibleSchemaError: The registry rejects a version.
        RegistryUnavailableError: The registry does not answer.
        RegistryError: An event has no final version.
    """
    configured: set[str] = set()
    for topic, version in versions_to_register(catalogue, registry.files):
        level = topic.event.compatibility
        if version.subject not in configured:
            registry.set_compatibility(version.subject, level)
            configured.add(version.subject)
        yield Registered(version.subject, version.version, registry.register(version), level)
