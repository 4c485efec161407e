"""The `streams` command: every file is a command, and loading one command loads no other."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest
import typer
from sqlalchemy import Connection
from typer._click.core import Command, Context
from typer.core import TyperCommand, TyperGroup, TyperOption

import streams
from streams import cli
from streams.cli.ids import resolve_event_id
from streams.cli.output import CommandError
from streams.settings import load_settings
from tests.support.pages import ROOT

LOADED = """
import json, sys
from streams.cli import app
try:
    app(["lag", "--help"])
except SystemExit:
    pass
json.dump(sorted(sys.modules), sys.stderr)
"""


def test_every_file_with_an_app_is_a_command() -> None:
    files = [path.stem for path in Path(cli.__file__).parent.glob("[a-z]*.py")]
    found = {
        name for name in files if isinstance(getattr(import_module(f"streams.cli.{name}"), "app", None), typer.Typer)
    }
    assert found == set(cli.COMMANDS)


def test_an_unknown_command_suggests_the_closest_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["streams", "lagg"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "streams: there is no command lagg: `streams lag`?\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("dlq list --foo", "No such option: --foo (see `streams dlq list --help`)"),
        ("executions list --status gone", "'gone' is not one of 'started', 'retry', 'success', 'failure' (see"),
        ("dlq show", "Missing argument 'ID' (see `streams dlq show --help`)"),
        ("dlq lst", "Did you mean 'list'? (see `streams dlq --help`)"),
        ("pools --output xml", "'xml' is not one of 'table', 'json', 'jsonl', 'csv' (see"),
    ],
)
def test_a_usage_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["streams", *words.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert message in printed.err


@pytest.mark.parametrize("words", [[], ["dlq"], ["db"]])
def test_a_group_without_a_command_shows_its_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["streams", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "Examples:\n  streams " in capsys.readouterr().out


def test_a_command_loads_no_handlers() -> None:
    """Handlers import numpy and the document formats, which take longer to load than a command runs."""
    done = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    loaded = set(json.loads(done.stderr))
    assert "streams.cli.lag" in loaded
    assert not loaded & {"numpy", "streams.agents", "streams.dify.platform", "streams.cli.dlq"}


@pytest.mark.requirement("Source tree and packaging", "`__version__`, `streams --version`")
def test_the_version_is_the_one_of_the_project(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The version is read from one place. A package that was installed before a change shows the old version."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    monkeypatch.setattr(sys, "argv", ["streams", "--version"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert not ended.value.code
    assert capsys.readouterr().out == f"streams {stated}\n"
    assert streams.__version__ == stated


def test_importing_streams_loads_nothing_that_only_a_worker_needs() -> None:
    """Not even `importlib.metadata`, which takes longer to import than the package itself."""
    script = "import streams, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.split(".")[0] in {"streams", "schemas"}} == {"streams"}
    assert not loaded & {"faust", "pydantic", "sqlalchemy", "confluent_kafka", "importlib.metadata"}


PROGRAM = typer.main.get_group(cli.app)


def every_command() -> Iterator[tuple[str, Command, Context]]:
    """Each command and group with the words that call it, the program itself first."""
    waiting: list[tuple[str, Command, Context | None]] = [("streams", PROGRAM, None)]
    while waiting:
        path, command, parent = waiting.pop(0)
        context = Context(command, info_name=path.split()[-1], parent=parent)
        yield path, command, context
        if isinstance(command, TyperGroup):
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert isinstance(found, TyperCommand | TyperGroup)
                waiting.append((f"{path} {name}", found, context))


COMMANDS = {path: (command, context) for path, command, context in every_command()}
EACH_COMMAND = pytest.mark.parametrize("path", COMMANDS)


@pytest.mark.requirement("Output of commands", "every command's page has an example")
@EACH_COMMAND
def test_every_page_has_examples_that_parse(path: str) -> None:
    """Each example is an existing command with valid options and arguments."""
    command, context = COMMANDS[path]
    _, _, shown = command.get_help(context).partition("\nExamples:\n")
    examples = [line.strip() for line in shown.splitlines()]
    assert examples, "there is no example"
    for example in examples:
        assert example.startswith(f"{path} ") or example == path or isinstance(command, TyperGroup)
        program, *words = shlex.split(example)
        assert program == "streams"
        with PROGRAM.make_context("streams", words) as parsed:
            parse(PROGRAM, parsed)


def parse(group: TyperGroup, context: Context) -> None:
    """Parse the remaining arguments as a subcommand, without running it. Fails as the command would."""
    name, command, words = group.resolve_command(context, [*context._protected_args, *context.args])
    assert command is not None
    with command.make_context(name, list(words), parent=context) as parsed:
        if isinstance(command, TyperGroup):
            parse(command, parsed)


@pytest.mark.requirement("Output of commands", "help says types as words")
@EACH_COMMAND
def test_every_page_says_types_as_words(path: str) -> None:
    """There are no Python annotations and no nested brackets; a flag takes no value. The page fits on 80 columns."""
    command, context = COMMANDS[path]
    page = command.get_help(context)
    assert not re.search(r"<\w+|\{[\w|]+\}|\[\[|x>=|…", page), page
    assert all(len(line) <= 80 for line in page.splitlines())
    for option in command.get_params(context):
        if isinstance(option, TyperOption):
            (line,) = (line for line in page.splitlines() if line.split()[:1] == [option.opts[0]])
            assert option.is_flag or re.match(r"  --\S+ ([A-Z]+|[a-z|]+)( |$)", line), line


@pytest.mark.requirement("Output of commands", "`--output table|json|jsonl|csv`")
def test_a_command_that_prints_rows_prints_them_in_every_format() -> None:
    """The options --output, --json and --wide come together."""
    with_rows = set()
    for path, (command, context) in COMMANDS.items():
        options = {option for one in command.get_params(context) for option in one.opts}
        if "--output" in options:
            with_rows.add(path)
            assert {"--json", "--wide"} <= options
        assert isinstance(command, TyperGroup) or "--json" in options, path
    assert with_rows == {
        f"streams {name}"
        for name in (
            *("breakers", "dlq list", "dlq replay", "dlq show", "doctor", "executions list", "executions show"),
            *("executions summary", "handlers list", "lag", "local down", "local status", "local up", "outbox list"),
            *(
                "pools",
                "scheduled list",
                "schedules history",
                "schedules list",
                "schemas export",
                "schemas register",
                "settings",
                "topics apply",
            ),
            "topics list",
        )
    }


def test_the_page_is_what_help_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["streams", "executions", "list", "--help"])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Usage: streams executions list [OPTIONS]\n")
    assert "--status started|retry|success|failure" in printed
    assert "Show at most this many rows. Default: 50." in " ".join(printed.split())


@pytest.mark.requirement("Faults of others", "L2: wrong arguments of any kind are one line, never a traceback")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["executions", "list", "--limit", "99999999999999999999"], "less than or equal to 1000000"),
        (["dlq", "list", "--limit", "99999999999999999999"], "less than or equal to 1000000"),
        (["outbox", "list", "--limit", "99999999999999999999"], "less than or equal to 1000000"),
        (["scheduled", "list", "--limit", "99999999999999999999"], "less than or equal to 1000000"),
        (["executions", "list", "--tenant", "\udcff"], "argument 4 is not UTF-8"),
        (["schemas", "export", "--folder", ""], "--folder is empty"),
        (["schemas", "check", "--folder", ""], "--folder is empty"),
        (["acls", "relay", "--format", "sql"], "prints the SQL of all roles: leave out ROLE"),
        (["publish", "document.deleted", "[" * 100_000], "document.deleted: "),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_wrong_arguments_are_one_line(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The database is not asked: nothing answers at its address."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMS_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setattr(sys, "argv", ["streams", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out, printed.err.count("\n")) == (2, "", 1), printed.err[:300]
    assert message in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("Faults of others", "L2: wrong arguments of any kind are one line, never a traceback")
def test_an_event_id_of_no_day_is_rejected_before_the_ledger_is_asked() -> None:
    no_connection = cast("Connection", None)
    with pytest.raises(CommandError, match="its time is after the year 9999"):
        resolve_event_id(no_connection, "ffffffff-ffff-7fff-bfff-ffffffffffff")
    last = "e677d21f-dbff-7fff-bfff-ffffffffffff"
    assert resolve_event_id(no_connection, last) == UUID(last)


@pytest.mark.requirement("Faults of others", "L1: each bad value of each setting is one line, never a traceback")
def test_settings_that_librdkafka_rejects_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STREAMS_KAFKA_CONFIG", '{"no.such.setting": "x"}')
    monkeypatch.setattr(sys, "argv", ["streams", "lag"])
    load_settings.cache_clear()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    load_settings.cache_clear()
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1), printed.err[:500]
    assert "no.such.setting" in printed.err
