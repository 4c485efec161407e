"""The S3 server with the payloads stops and restarts. Only large events wait for it, without counting an attempt."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from streams.codec import build_codec
from streams.publishing import EventProducer
from streams.runtime.declarations import build_catalogue
from streams.schema_registry.export import export
from streams.settings import Settings
from tests.support.apps import reports
from tests.support.apps.reports import ReportRequested, digest
from tests.support.fakes.s3_server import BUCKET, KEY, REGION, s3_server
from tests.support.faults.group_protocols import both_protocols
from tests.support.processes.worker_process import Streams, WorkerProcess, free_port, rows, wait_for

BODY = "x" * 800_000


@pytest.fixture
def port() -> int:
    """The port of the S3 server, the same after a restart."""
    return free_port()


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path, port: int) -> dict[str, str]:
    """The test's settings with the report events and the bucket, for every process."""
    registry = tmp_path / "registry"
    export(build_catalogue(Settings(handlers=(reports.__name__,))), registry)
    return {
        **environment,
        "STREAMS_HANDLERS": reports.__name__,
        "STREAMS_SCHEMA_REGISTRY_URL": f"file:{registry}",
        "STREAMS_STORAGE_URL": f"s3://{BUCKET}/dify",
        "STREAMS_STORAGE_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "STREAMS_STORAGE_REGION": REGION,
        "STREAMS_STORAGE_ACCESS_KEY": KEY,
        "STREAMS_STORAGE_SECRET_KEY": KEY,
    }


@pytest.mark.requirement(
    "Large events",
    "a storage that is away is a dependency, not a dead letter; a sender is told",
)
@pytest.mark.timeout(300)
@both_protocols
def test_large_events_wait_without_attempts_and_small_ones_continue(
    topics: Settings, engine: Engine, worker: Callable[..., WorkerProcess], streams: Streams, port: int
) -> None:
    """The events are published to one partition while the server runs. The worker starts while it is stopped."""
    codec = build_codec(topics, build_catalogue(topics))
    large = [ReportRequested(report_id="one", text=f"{number}{BODY}") for number in range(3)]
    small = ReportRequested(report_id="one", text="small")
    with s3_server(port), EventProducer(topics, codec) as producer:
        producer.publish_many([*large, small])

    one = worker().start(ready=False)
    done = "select event_id, attempts, result from streams.executions where status = 'success'"
    wait_for(lambda: len(rows(engine, done)) == 2, "both handlers of the small event", seconds=120)
    assert {row["event_id"] for row in rows(engine, done)} == {small.event_id}
    breakers = streams.json("breakers")
    assert isinstance(breakers, list)
    assert [row["state"] for row in breakers if row["dependency"] == "storage"] != ["closed"]

    with s3_server(port):
        wait_for(lambda: len(rows(engine, done)) == 8, "both handlers of all", seconds=120)
        found = rows(engine, done)
        assert {row["attempts"] for row in found} == {1}
        assert {row["result"] for row in found} == {digest(event) for event in (*large, small)}
        assert streams.json("dlq", "list") == []
        assert one.stop() == 0
