"""The `streams` command: each of its files is a command, and loading one loads no other's."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

from streams import cli

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
