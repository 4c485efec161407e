"""`streams schemas export` and `check`, as a developer runs them. No server is needed."""

import json
from pathlib import Path

from schemas.registry import COMMITTED, FileRegistry
from streams.schema_export import export
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.integration.driving import Streams


def test_the_committed_files_pass() -> None:
    """What CI runs: exit 0 while nobody changed an event without exporting it."""
    done = Streams({}).run("schemas", "check")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_new_folder_gets_the_whole_registry(tmp_path: Path) -> None:
    """The built-in events with their committed ids and files."""
    streams = Streams({"STREAMS_SCHEMA_REGISTRY_URL": f"file:{tmp_path / 'registry'}"})
    assert streams.json("schemas", "export") == []
    assert list(FileRegistry(tmp_path / "registry")) == list(FileRegistry())
    for path in (tmp_path / "registry").iterdir():
        assert path.read_bytes() == (COMMITTED / path.name).read_bytes()


def test_check_names_the_file_that_differs(tmp_path: Path) -> None:
    """Exit 1, one line; export then adds a version."""
    streams = Streams({})
    folder = ("--folder", str(tmp_path))
    export(load_catalogue(Settings()), tmp_path)
    file = tmp_path / "document.deleted.v1.avsc"
    schema = json.loads(file.read_text(encoding="utf-8"))
    schema["fields"].pop()
    file.write_text(json.dumps(schema), encoding="utf-8")

    done = streams.run("schemas", "check", *folder)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "streams: document.deleted.v1.avsc differs from DocumentDeleted; run `streams schemas export`"
    )

    highest = max(registered.id for registered in FileRegistry())
    added = streams.json("schemas", "export", *folder)
    assert added == [
        {"id": highest + 1, "subject": "document.deleted-value", "version": 2, "file": "document.deleted.v2.avsc"}
    ]


def test_a_missing_registry_is_one_line(tmp_path: Path) -> None:
    """With the path and what makes it."""
    done = Streams({"STREAMS_SCHEMA_REGISTRY_URL": f"file:{tmp_path}"}).run("schemas", "check")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"streams: {tmp_path / 'registry.json'}: No such file")
