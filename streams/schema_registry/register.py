"""Putting the schemas of the event classes into a registry over HTTP, with what may be changed of each."""

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.registry import FileRegistry, RegisteredSchema, RegistryError
from streams.schema_registry.confluent import HttpRegistry
from streams.topics import Catalogue, Topic


@dataclass(frozen=True, slots=True)
class Registered:
    """What the registry has of one version: its own id, which is not that of the files."""

    subject: str
    version: int
    """That of the files."""
    id: int | None
    """None: was not registered, only looked at."""
    compatibility: str


def to_register(catalogue: Catalogue, files: FileRegistry) -> list[tuple[Topic, RegisteredSchema]]:
    """Every version of the catalogue's events, oldest first, with its topic.

    The old ones too: consumers meet records of each. Raises RegistryError where an event has no version, or a draft.
    """
    found: list[tuple[Topic, RegisteredSchema]] = []
    for topic in catalogue:
        versions = files.versions(catalogue.subject(topic.name))
        if not versions:
            message = f"{topic.name} has no schema in {files.folder}: run `streams schemas export`"
            raise RegistryError(message)
        if versions[-1].draft:
            message = f"{versions[-1].file} is a draft: run `streams schemas export`, which makes it a version for good"
            raise RegistryError(message)
        found.extend((topic, version) for version in versions)
    return found


def register(catalogue: Catalogue, registry: HttpRegistry) -> Iterator[Registered]:
    """Register what is missing, and set each subject's compatibility; may be repeated.

    Raises RegistryError: IncompatibleSchemaError where the registry refuses a version, RegistryUnavailableError.
    """
    told: set[str] = set()
    for topic, version in to_register(catalogue, registry.files):
        level = topic.event.compatibility
        if version.subject not in told:
            registry.set_compatibility(version.subject, level)
            told.add(version.subject)
        yield Registered(version.subject, version.version, registry.register(version), level)
