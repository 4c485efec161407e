"""The `streams` command run in the test's own process: all of it, from argument to exit code, but its start-up."""

import io
import json
import sys
from subprocess import CompletedProcess

import pytest

from streams.cli import main
from streams.codec import default_codec
from streams.settings import load_settings


class Commands:
    """As `driving.Streams`, for the environment that the `settings` fixture has set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> CompletedProcess[str]:
        """Run a command; its exit code, output and errors. `environment`: settings of this run alone."""
        self._capsys.readouterr()
        code: object = 0
        with self._monkeypatch.context() as changed:
            changed.setattr(sys, "argv", ["streams", *arguments])
            changed.setattr(sys, "stdin", io.StringIO(stdin))
            for name, value in environment.items():
                changed.setenv(name, value)
            load_settings.cache_clear()
            default_codec.cache_clear()
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
        load_settings.cache_clear()
        default_codec.cache_clear()
        written = self._capsys.readouterr()
        assert isinstance(code, int)
        return CompletedProcess(arguments, code, written.out, written.err)

    def json(self, *arguments: str, stdin: str = "") -> object:
        """A command's JSON; fails where it fails."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rows(self, *arguments: str) -> list[dict[str, object]]:
        """A command's JSON that is a list of objects."""
        found = self.json(*arguments)
        assert isinstance(found, list)
        return found
