"""Kafka or PostgreSQL hangs while `streams exporter` runs.

Expected: the exporter keeps serving. `streams_exporter_up` of the source is 0 and its figures are left out. SIGTERM
ends the process within two seconds.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.integration.conftest import Stack
from tests.support.faults.server_faults import pid_of
from tests.support.processes.exporter_process import ExporterProcess, exporting
from tests.support.processes.worker_process import wait_for

SECTION = "Metrics"
TEXT = "the exporter survives Kafka and PostgreSQL being away: no old figures, `streams_exporter_up` 0"
FIGURE = {"kafka": "kafka_brokers", "database": "streams_outbox_waiting"}
SERVER = {"kafka": "kafka", "database": "postgres"}
pytestmark = pytest.mark.timeout(400)


def is_up(exporter: ExporterProcess, source: str) -> bool:
    """Whether the source is up; its figures must be there if and only if it is."""
    found = exporter.metrics()
    up = found["streams_exporter_up", frozenset({("source", source)})] == 1
    assert ((FIGURE[source], frozenset()) in found) == up
    return up


@contextmanager
def frozen(stack: Stack, server: str) -> Iterator[None]:
    """Stop a server and its children for the duration of the block: it accepts connections and never answers."""
    pid = pid_of(stack, server)
    os.killpg(os.getpgid(pid), signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(os.getpgid(pid), signal.SIGCONT)


@pytest.mark.requirement(SECTION, TEXT)
@pytest.mark.parametrize("source", ["kafka", "database"])
def test_a_server_hangs(
    stack: Stack,
    topics: Settings,  # noqa: ARG001 - creates the topics
    environment: dict[str, str],
    tmp_path: Path,
    source: str,
) -> None:
    """The database's client has no time limit for an answer, so the figures are dropped by their age."""
    limits = {
        "STREAMS_KAFKA_REQUEST_TIMEOUT": "3s",
        "STREAMS_DATABASE_CONNECT_TIMEOUT": "2s",
    }
    with exporting(environment, tmp_path / "exporter.log", **limits) as exporter:
        exporter.wait_until_ready()
        with frozen(stack, SERVER[source]):
            wait_for(lambda: not is_up(exporter, source), "the figures to be dropped", 60)
            assert exporter.page("/health/live")[0] == 200
            assert exporter.stop(within=2.0) == 0
