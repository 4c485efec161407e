"""`streams schemas export` and `check`, as developers run them. No server is needed."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from schemas.registry import COMMITTED, FileRegistry
from streams.schema_registry.export import export
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.cli import Commands
from tests.support.processes.worker_process import Streams


def test_the_committed_files_pass() -> None:
    """As CI runs it: exit code 0 if no event was changed without an export."""
    done = Streams({}).run("schemas", "check")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_new_folder_gets_the_whole_registry(tmp_path: Path) -> None:
    """The built-in events with their committed ids and files."""
    commands = Commands({"STREAMS_SCHEMA_REGISTRY_URL": f"file:{tmp_path / 'registry'}"})
    assert commands.json("schemas", "export") == []
    assert list(FileRegistry(tmp_path / "registry")) == list(FileRegistry())
    for path in (tmp_path / "registry").iterdir():
        assert path.read_bytes() == (COMMITTED / path.name).read_bytes()


def test_check_names_the_file_that_differs(tmp_path: Path) -> None:
    """Exit code 1 and one line. Export then adds a version."""
    commands = Commands()
    folder = ("--folder", str(tmp_path))
    export(load_catalogue(Settings()), tmp_path)
    file = tmp_path / "document.deleted.v1.avsc"
    schema = json.loads(file.read_text(encoding="utf-8"))
    schema["fields"].pop()
    file.write_text(json.dumps(schema), encoding="utf-8")

    done = commands.run("schemas", "check", *folder)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "streams: document.deleted.v1.avsc differs from DocumentDeleted; run `streams schemas export`"
    )

    highest = max(registered.id for registered in FileRegistry())
    added = commands.json("schemas", "export", *folder)
    assert added == [
        {"id": highest + 1, "subject": "document.deleted-value", "version": 2, "file": "document.deleted.v2.avsc"}
    ]


def test_a_missing_registry_is_one_line(tmp_path: Path) -> None:
    """With the path, and the command that creates it."""
    done = Commands({"STREAMS_SCHEMA_REGISTRY_URL": f"file:{tmp_path}"}).run("schemas", "check")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"streams: {tmp_path / 'registry.json'}: No such file")


EVENT = """
from schemas import Event
from streams.topics import Topic

class InvoicePaid(Event):
    invoice_id: str
    {fields}

TOPICS = (Topic("invoice.paid", InvoicePaid, key="invoice_id", pool="low"),)
HANDLERS = ()
"""


@pytest.mark.requirement(
    "Schema evolution",
    "`make check` fails, without a server, when a changed event could not be read by consumers of the "
    "last released schema or could not read its records",
)
def test_a_change_that_breaks_fails_check_and_export_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a developer: the event, the field and the fix are named, nothing is written, and the fix works."""
    folder = tmp_path / "registry"
    commands = Commands({"STREAMS_HANDLERS": "invoices", "STREAMS_SCHEMA_REGISTRY_URL": f"file:{folder}"})
    monkeypatch.syspath_prepend(tmp_path)

    def change(fields: str) -> None:
        (tmp_path / "invoices.py").write_text(EVENT.format(fields=fields), encoding="utf-8")
        monkeypatch.delitem(sys.modules, "invoices", raising=False)
        importlib.invalidate_caches()

    change("")
    assert commands.run("schemas", "export").returncode == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    change("amount: int")
    told = 'field "amount" is new and has no default, and records of v1 do not have it: give it a default'
    for command in ("check", "export"):
        done = commands.run("schemas", command)
        assert (done.returncode, done.stderr) == (1, f"streams: invoice.paid v2: {told}\n")
    (problem, _) = json.loads(commands.run("schemas", "check", "--json").stdout)
    assert problem["problem"] == f"invoice.paid v2: {told}"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    change("amount: int = 0")
    assert [row["version"] for row in commands.rows("schemas", "export")] == [2]
    assert commands.run("schemas", "check").returncode == 0


@pytest.mark.requirement(
    "Schema evolution",
    "`make check` fails, without a server, when a changed event could not be read by consumers of the "
    "last released schema or could not read its records",
)
def test_make_check_asks_the_gate() -> None:
    """Without a server: the line names the committed folder."""
    makefile = (COMMITTED.parents[1] / "Makefile").read_text(encoding="utf-8")
    check = makefile.partition("\ncheck:")[2].partition("\n\n")[0]
    assert "streams schemas check --folder schemas/avro" in check
