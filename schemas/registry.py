"""The file registry: maps ids to Avro schemas. It is committed, so that all services agree without a server.

A folder contains one ``.avsc`` file per version and ``registry.json``: ``{"schemas": [{"id": 1, "subject":
"document.deleted-value", "version": 1, "file": "document.deleted.v1.avsc"}, …]}``. Subjects follow Confluent's
TopicNameStrategy. An id is never changed and never used again, because records contain it. Only a draft may be
replaced: no stored record has its id.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.evolution import Allowed

COMMITTED = Path(__file__).with_name("avro")
"""The registry of this package."""
INDEX = "registry.json"


class RegistryError(Exception):
    """The registry cannot be used. The message is one line that names its file or address."""


class RegistryUnavailableError(RegistryError):
    """An HTTP registry does not answer, or its answer is invalid. So it is unknown whether the schema exists."""


def registry_folder(url: str) -> Path:
    """Return the folder of a registry's URL: ``file:`` is the committed one, ``file:PATH`` another.

    Raises RegistryError for a URL of another kind.
    """
    scheme, _, path = url.partition(":")
    if scheme != "file":
        message = f"{url!r} is not a registry URL: use file:, file:PATH (a folder), http://… or https://…"
        raise RegistryError(message)
    return Path(path.removeprefix("//")) if path else COMMITTED


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """One version of a subject's schema, and the id that records contain."""

    id: int
    subject: str
    version: int
    file: str
    """The name of the ``.avsc`` file in the folder of the registry."""
    schema: dict[str, object]
    """The Avro record schema as JSON."""
    allowed: Allowed | None = None
    """What the class allows, if that is less than the Avro type; None: unknown."""
    draft: bool = False
    """True while it may still be replaced. No stored record may refer to it."""

    @property
    def field_names(self) -> frozenset[str]:
        """Return the names of the record's fields."""
        fields = self.schema.get("fields")
        return frozenset(str(one["name"]) for one in fields) if isinstance(fields, list) else frozenset()


class FileRegistry:
    """The schemas of one folder, read once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read the committed registry, or another folder. Raises RegistryError."""
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
        """Yield all versions of all subjects, by id."""
        return iter(sorted(self._by_id.values(), key=lambda registered: registered.id))

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """Return the schema of an id, or None if the registry does not have it."""
        return self._by_id.get(schema_id)

    def versions(self, subject: str) -> tuple[RegisteredSchema, ...]:
        """Return all versions of a subject (``<topic>-value``), oldest first."""
        return tuple(self._versions.get(subject, ()))

    def latest(self, subject: str) -> RegisteredSchema | None:
        """Return the newest version of a subject, or None if there is none."""
        return self._versions[subject][-1] if subject in self._versions else None

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        """Return the newest version with exactly these fields, which is the version of a class.

        This is not always the newest version: processes of different releases may share a folder or a registry.
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
        message = f"{path}: {error.strerror}; `streams schemas export` creates the files of the registry"
        raise RegistryError(message) from error
    except (ValueError, RecursionError) as error:
        message = f"{path} is not JSON: {error}"
        raise RegistryError(message) from error
    if not isinstance(content, dict):
        message = f"{path} does not contain a JSON object"
        raise RegistryError(message)
    return content
