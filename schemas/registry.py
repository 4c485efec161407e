"""The file registry: which Avro schema has which id. Committed, so that every service agrees without a server.

A folder holds one ``.avsc`` file a version and ``registry.json``:
``{"schemas": [{"id": 1, "subject": "document.deleted-value", "version": 1, "file": "document.deleted.v1.avsc"}, …]}``.
Subjects follow Confluent's TopicNameStrategy. An id once given is never changed or given again: records carry it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMMITTED = Path(__file__).with_name("avro")
"""The registry that is part of this package."""
INDEX = "registry.json"


class RegistryError(Exception):
    """The registry's files cannot be used; the message is one line that names the file."""


def registry_folder(url: str) -> Path:
    """The folder that a registry's URL means: ``file:`` the committed one, ``file:PATH`` another.

    Raises RegistryError for a URL of another kind.
    """
    scheme, _, path = url.partition(":")
    if scheme != "file":
        message = f"{url!r} is no folder: a file registry's URL is file: or file:PATH"
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


class FileRegistry:
    """The schemas of one folder, read once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Reads the committed registry unless another folder is named. Raises RegistryError."""
        self.folder = COMMITTED if folder is None else folder
        self._by_id: dict[int, RegisteredSchema] = {}
        self._latest: dict[str, RegisteredSchema] = {}
        for registered in _read(self.folder):
            if registered.id in self._by_id:
                message = f"{self.folder / INDEX}: id {registered.id} is given twice"
                raise RegistryError(message)
            self._by_id[registered.id] = registered
            newest = self._latest.get(registered.subject)
            if newest is None or registered.version > newest.version:
                self._latest[registered.subject] = registered

    def __iter__(self) -> Iterator[RegisteredSchema]:
        """All versions of all subjects, by id."""
        return iter(sorted(self._by_id.values(), key=lambda registered: registered.id))

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        """The schema of an id, or None where the registry does not know it."""
        return self._by_id.get(schema_id)

    def latest(self, subject: str) -> RegisteredSchema | None:
        """The newest version of a subject (``<topic>-value``), or None where it has none."""
        return self._latest.get(subject)


def _read(folder: Path) -> Iterator[RegisteredSchema]:
    index = folder / INDEX
    rows = _load(index).get("schemas")
    for row in rows if isinstance(rows, list) else [rows]:
        match row:
            case {"id": int(schema_id), "subject": str(subject), "version": int(version), "file": str(file)}:
                yield RegisteredSchema(schema_id, subject, version, file, _load(folder / file))
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
