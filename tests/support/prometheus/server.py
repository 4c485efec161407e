"""A Prometheus server on this machine, with the rules of deploy/prometheus."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from tests.support.processes.worker_process import free_port, wait_for
from tests.support.prometheus.queries import RULE_FILES

SCRAPE_SECONDS = 5
"""Also how long a scrape may take: on a busy machine a page needs seconds."""


def is_installed() -> bool:
    """Say whether this machine has the server."""
    return shutil.which("prometheus") is not None


class PrometheusServer:
    """The HTTP API of a server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        """Say whether it answers queries."""
        try:
            return httpx.get(f"{self._url}/-/ready", timeout=5).is_success
        except httpx.TransportError:
            return False

    def query(self, expr: str) -> list[object]:
        """Return the series of a query at this time. The test fails if the server rejects it."""
        answer = httpx.post(f"{self._url}/api/v1/query", data={"query": expr}, timeout=30)
        assert answer.is_success, f"{expr}\n{answer.text}"
        result = answer.json()["data"]["result"]
        assert isinstance(result, list)
        return result


@contextmanager
def prometheus_running(folder: Path, targets: Mapping[str, int]) -> Iterator[PrometheusServer]:
    """Run a server for the duration of the block. It scrapes every few seconds.

    Args:
        folder: A folder for its configuration, data and log.
        targets: The port of each job.
    """
    config = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
        "rule_files": [str(path) for path in RULE_FILES],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdout=output,
            stderr=output,
        )
    server = PrometheusServer(port)
    try:
        wait_for(lambda: server.is_ready() or process.poll() is not None, "Prometheus to be ready")
        assert process.poll() is None, log.read_text(errors="replace")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
