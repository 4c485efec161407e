"""Runs `streams relay` as operators do."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes.preloaded import BIN, commands_folder
from tests.support.processes.worker_process import ROOT


class RelayProcess:
    """A process of `streams relay --json` with its output and log in files."""

    def __init__(self, environment: Mapping[str, str], folder: Path, *options: str, preloaded: bool = True) -> None:
        """Start the process.

        Args:
            environment: Environment variables.
            folder: A new folder for its files.
            options: Further arguments.
            preloaded: Whether the process may be a preloaded one; False where its own id is needed.
        """
        self.log, self.output = folder / "log", folder / "output"
        folder.mkdir()
        with self.log.open("wb") as stderr, self.output.open("wb") as stdout:
            self.process = subprocess.Popen(
                [(commands_folder() if preloaded else BIN) / "streams", "relay", "--json", *options],
                env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "STREAMS_LOG_FORMAT": "json"},
                stdout=stdout,
                stderr=stderr,
            )

    def has_logged(self, what: str) -> bool:
        """Return whether the log contains a text. Fails if the process has ended."""
        assert self.process.poll() is None, self.log.read_text()
        return what in self.log.read_text()

    def is_active(self) -> bool | None:
        """Return whether it is active, or stands by, by the last line of its log about that. None: it is neither."""
        lines = re.findall("this relay is active|this relay stands by", self.log.read_text())
        return lines[-1] == "this relay is active" if lines else None

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)
