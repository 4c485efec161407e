"""`streams relay` as operators start it."""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes.worker_process import BIN, ROOT


class RelayProcess:
    """`streams relay --json` with its output in files."""

    def __init__(self, environment: Mapping[str, str], folder: Path, *options: str) -> None:
        self.log, self.told = folder / "log", folder / "told"
        folder.mkdir()
        with self.log.open("wb") as errors, self.told.open("wb") as output:
            self.process = subprocess.Popen(
                [BIN / "streams", "relay", "--json", *options],
                env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "STREAMS_LOG_FORMAT": "json"},
                stdout=output,
                stderr=errors,
            )

    def says(self, what: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return what in self.log.read_text()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)
