"""The `streams` command: each of its files is a command, and loading one loads no other's."""

import json
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import typer

import streams
from streams import cli
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


def test_a_slip_is_answered_with_the_nearest_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["streams", "lagg"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "streams: there is no command lagg: `streams lag`?\n"


def test_a_command_loads_no_handlers() -> None:
    """They bring numpy and the document formats, and take longer to load than a command to answer."""
    done = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    loaded = set(json.loads(done.stderr))
    assert "streams.cli.lag" in loaded
    assert not loaded & {"numpy", "streams.agents", "streams.dify.platform", "streams.cli.dlq"}


def test_the_version_is_the_one_of_the_project(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One place has it: a package that was installed before the version was raised shows the old one."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    monkeypatch.setattr(sys, "argv", ["streams", "--version"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert not ended.value.code
    assert capsys.readouterr().out == f"streams {stated}\n"
    assert streams.__version__ == stated


def test_importing_streams_loads_nothing_that_only_a_worker_needs() -> None:
    """Not even the module that reads the version, which takes longer to import than the package itself."""
    script = "import streams, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.split(".")[0] in {"streams", "schemas"}} == {"streams"}
    assert not loaded & {"faust", "pydantic", "sqlalchemy", "confluent_kafka", "importlib.metadata"}
