"""Runs `streams exporter` as operators do."""

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes.preloaded import commands_folder
from tests.support.processes.worker_process import ROOT, START, free_port, wait_for

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Name and labels → value."""


class ExporterProcess:
    """A process of `streams exporter` with its output in a file."""

    def __init__(self, environment: Mapping[str, str], log: Path, **settings: str) -> None:
        """Start the process.

        Args:
            environment: Environment variables.
            log: The file for the output.
            settings: Further environment variables.
        """
        self.port = free_port()
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [commands_folder() / "streams", "exporter"],
                env={
                    **os.environ,
                    **environment,
                    "STREAMS_EXPORTER_PORT": str(self.port),
                    "STREAMS_EXPORTER_INTERVAL": "1s",
                    "STREAMS_LOG_FORMAT": "json",
                    "PYTHONPATH": str(ROOT),
                    **settings,
                },
                stdout=output,
                stderr=output,
            )

    def page(self, path: str) -> tuple[int, str]:
        """Return the status and body of a page; status 0 while the port is closed."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_until_ready(self) -> "ExporterProcess":
        """Return when both sources have answered."""
        wait_for(lambda: self._answer() == (200, []), "the exporter to have read its sources", 2 * START)
        return self

    def metrics(self) -> Samples:
        """Return the samples of a scrape."""
        status, text = self.page("/metrics")
        assert status == 200, text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, /, **labels: str) -> float | None:
        """Return the value of a sample. None: there is none."""
        return self.metrics().get((name, frozenset(labels.items())))

    def output(self) -> str:
        """Return the output so far."""
        return self.log.read_text(errors="replace")

    def stop(self, within: float = 10.0) -> int:
        """Send SIGTERM and return the exit code. `within`: how long to wait, in seconds."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def _answer(self) -> tuple[int, list[str]]:
        assert self.process.poll() is None, self.output()[-3000:]
        status, body = self.page("/health/ready")
        return status, json.loads(body)["reasons"] if body else []


@contextmanager
def exporting(environment: Mapping[str, str], log: Path, **settings: str) -> Iterator[ExporterProcess]:
    """Run an exporter for the duration of the block.

    Args:
        environment: Environment variables.
        log: The file for the output.
        settings: Further environment variables.
    """
    exporter = ExporterProcess(environment, log, **settings)
    try:
        yield exporter
    finally:
        exporter.process.kill()
        exporter.process.wait(10)
