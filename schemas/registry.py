"""The file registry: which Avro schema has which id. Committed, so that every service agrees without a server.

A folder holds one ``.avsc`` file a version and ``registry.json``:
``{"schemas": [{"id": 1, "subject": "document.deleted-value", "version": 1, "file": "document.deleted.v1.avsc"}, …]}``.
Subjects follow Confluent's TopicNameStrategy. An id once given is never changed or given again: records carry it. Only
a draft may be: no record that is kept has its id.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.evolution import Allowed

COMMITTED = Path(__file__).with_name("avro")
"""The registry that is part of this package."""
INDEX = "registry.json"


class RegistryError(Exception):
    """The registry cannot be used; the message is one line that names its file or address."""


class RegistryUnavailableError(RegistryError):
    """A registry behind HTTP does not answer, or not as one should: nothing is known of what was asked."""


def registry_folder(url: str) -> Path:
    """The folder that a registry's URL means: ``file:`` the committed one, ``file:PATH`` another.

    Raises RegistryError for a URL of another kind.
    """
    scheme, _, path = url.partition(":")
    if scheme != "file":
        message = f"{url!r} is no registry's URL: they are file:, file:PATH (a folder), http://… and https://…"
        raise RegistryError(message)
    return Path(path.removeprefix("//")) if path else COMMITTED


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """One version of a subject's schema, and the id under which records refer to it."""

    id: int
    subject: str
    version: int
    file: str
    """Name of the ``.avsc`` file in the registry's folder."""
    schema: dict[str, object]
    """The Avro record schema as JSON has it."""
    allowed: Allowed | None = None
    """What its class allows where that is less than Avro's type; None: was not noted."""
    draft: bool = False
    """True while it may still be replaced: nothing that is kept may refer to it."""

    @property
    def field_names(self) -> frozenset[str]:
        """The names of the record's fields."""
        fields = self.schema.get("fields")
        return frozenset(str(one["name"]) for one in fields) if isinstance(fields, list) else frozenset()


class FileRegistry:
    """The schemas of one folder, read once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Reads the committed registry unless another folder is named. Raises RegistryError."""
        self.folder = COMMITTED if folder is None else folder
        self._by_id: dict[int, RegisteredSchema] = {}
        self._versions: dict[str, list[RegisteredSchema]] = {}
        for registered in _read(self.folder):
            if registered.id in self._by_id:
                message = f"{self.folder / INDEX}: id {registered.id} is given twice"
                raise RegistryError(message)
            self._by_id[registered.id] = registered
            self._versions.setdefault(registered.subject, []).append(registered)
        for versions in self._versions.values():
            versions.sort(key=lambda registered: registered.version)

    def __iter__(self) -> Iterator[RegisteredSchema]:
        """All versions of all subjects, by id."""
        return iter(sorted(self._by_id.values(), key=lambda registered: registered.id))

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """The schema of an id, or None where the registry does not know it."""
        return self._by_id.get(schema_id)

    def versions(self, subject: str) -> tuple[RegisteredSchema, ...]:
        """All versions of a subject (``<topic>-value``), oldest first."""
        return tuple(self._versions.get(subject, ()))

    def latest(self, subject: str) -> RegisteredSchema | None:
        """The newest version of a subject, or None where it has none."""
        return self._versions[subject][-1] if subject in self._versions else None

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """The version that a class of those fields stands for: the newest that has them and no others.

        Not simply the newest: a process of the release before shares a folder, or a registry, with newer ones.
        """
        return next((one for one in reversed(self.versions(subject)) if one.field_names == fields), None)


def _read(folder: Path) -> Iterator[RegisteredSchema]:
    index = folder / INDEX
    listed = _load(index).get("schemas")
    rows: list[dict[str, object]] = listed if isinstance(listed, list) else [{"schemas": listed}]
    for row in rows:
        match row:
            case {"id": int(schema_id), "subject": str(subject), "version": int(version), "file": str(file)}:
                allowed, draft = row.get("allowed"), row.get("draft") is True
                schema = _load(folder / file)
                kept = allowed if isinstance(allowed, dict) else None
                yield RegisteredSchema(schema_id, subject, version, file, schema, kept, draft=draft)
            case _:
                message = f"{index}: each of its schemas needs id, subject, version and file"
                raise RegistryError(message)


def _load(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path}: {error.strerror}; `streams schemas export` makes the registry's files"
        raise RegistryError(message) from error
    except ValueError as error:
        message = f"{path} is not JSON: {error}"
        raise RegistryError(message) from error
    if not isinstance(content, dict):
        message = f"{path} holds no JSON object"
        raise RegistryError(message)
    return content
