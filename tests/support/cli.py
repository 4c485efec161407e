"""The `streams` command run in the test's own process: all of it, from argument to exit code, but its start-up."""

import io
import json
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess
from unittest.mock import patch

from streams.codec import default_codec
from streams.settings import load_settings


class Commands:
    """As `driving.Streams`, without a process: for all but the process's own ends, signals and foreign output."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: on top of this process's own."""
        self.environment = dict(environment or {})

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> CompletedProcess[str]:
        """Run a command; its exit code, output and errors. `environment`: settings of this run alone."""
        from streams.cli import main  # noqa: PLC0415 - a third of a second that most tests do without

        output, errors = io.StringIO(), io.StringIO()
        code: object = 0
        load_settings.cache_clear()
        default_codec.cache_clear()
        with (
            patch.dict(os.environ, {**self.environment, **environment}),
            patch.object(sys, "argv", ["streams", *arguments]),
            patch.object(sys, "stdin", io.StringIO(stdin)),
            redirect_stdout(output),
            redirect_stderr(errors),
        ):
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
        load_settings.cache_clear()
        default_codec.cache_clear()
        assert isinstance(code, int)
        return CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())

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
