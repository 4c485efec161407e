"""Kafka or PostgreSQL is killed and comes back while `streams exporter` runs.

Expected: the exporter keeps serving. `streams_exporter_up` of the source is 0, its figures are left out, and the other
source keeps its own. When the server is back, the figures are those of the present.
"""

from pathlib import Path

import pytest

from streams.settings import Settings
from tests.integration.conftest import Stack
from tests.support.faults.server_faults import kill_server, restore
from tests.support.processes.exporter_process import ExporterProcess, exporting
from tests.support.processes.worker_process import wait_for

SECTION = "Metrics"
TEXT = "the exporter survives Kafka and PostgreSQL being away: no old figures, `streams_exporter_up` 0"
FIGURE = {"kafka": "kafka_brokers", "database": "streams_outbox_waiting"}
SERVER = {"kafka": "kafka", "database": "postgres"}
OTHER = {"kafka": "database", "database": "kafka"}
pytestmark = pytest.mark.timeout(400)


def is_up(exporter: ExporterProcess, source: str) -> bool:
    """Whether the source is up; its figures must be there if and only if it is."""
    found = exporter.metrics()
    up = found["streams_exporter_up", frozenset({("source", source)})] == 1
    assert ((FIGURE[source], frozenset()) in found) == up
    return up


@pytest.mark.requirement(SECTION, TEXT)
@pytest.mark.parametrize("source", ["kafka", "database"])
def test_a_server_is_killed_and_comes_back(
    stack: Stack,
    topics: Settings,  # noqa: ARG001 - creates the topics
    environment: dict[str, str],
    tmp_path: Path,
    source: str,
) -> None:
    with exporting(environment, tmp_path / "exporter.log", STREAMS_KAFKA_REQUEST_TIMEOUT="3s") as exporter:
        exporter.wait_until_ready()
        kill_server(stack, SERVER[source])
        try:
            wait_for(lambda: not is_up(exporter, source), "the figures to be dropped", 60)
            assert is_up(exporter, OTHER[source])
            assert exporter.page("/health/live")[0] == 200
            assert exporter.page("/health/ready")[0] == 200
        finally:
            restore(stack)
        wait_for(lambda: is_up(exporter, source), "the figures to come back", 90)
        assert exporter.output().count("source does not answer") >= 1
        assert "source answers again" in exporter.output()
        assert "Traceback" not in exporter.output()
        assert exporter.stop(within=2.0) == 0
