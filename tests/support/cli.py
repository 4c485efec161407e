"""The `streams` command in the test's own process, from the arguments to the exit code."""

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
    """Runs commands without a process.

    Use `worker_process.Streams` for a test of signals, of how the process ends, or of output that is not Python's.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Set the commands' environment: the one of this process, updated with `environment`."""
        self.environment = dict(environment or {})

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> CompletedProcess[str]:
        """Run a command. Returns its exit code, output and errors.

        Args:
            arguments: The arguments of `streams`.
            stdin: The text on standard input.
            environment: Environment variables of this run only.
        """
        from streams.cli import main  # noqa: PLC0415 - takes a third of a second, and most tests run no command

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
        """Return a command's JSON. The test fails if the command fails."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rows(self, *arguments: str) -> list[dict[str, object]]:
        """Return a command's JSON, which must be a list of objects."""
        found = self.json(*arguments)
        assert isinstance(found, list)
        return found
