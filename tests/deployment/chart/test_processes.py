"""What the pods run starts with the variables that the chart gives it, answers its probes, and stops in time."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.chart.pod_process import PodProcess
from tests.support.chart.pods import Container, containers
from tests.support.chart.render import Object, merged, objects, read_values
from tests.support.processes.worker_process import START, free_port, wait_for

SECTION = "Kubernetes"
SECRETS = ("STREAMS_DATABASE_URL", "STREAMS_REDIS_URL")

STORAGE = "/tmp/storage"  # noqa: S108 - the path in the container

Start = Callable[[str], PodProcess]
"""Starts the container whose object has this end of its name."""


@pytest.fixture
def found(environment: dict[str, str]) -> list[Object]:
    """Render the chart for the servers of this test."""
    values = {
        "application": environment["STREAMS_APPLICATION"],
        "topicPrefix": environment["STREAMS_TOPIC_PREFIX"],
        "retryDelays": environment["STREAMS_RETRY_DELAYS"].split(","),
        "partitions": int(environment["STREAMS_PARTITIONS"]),
        "kafka": {"bootstrapServers": environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"], "groupProtocol": "consumer"},
        # The folder of the process stands for /tmp, so the claim is in it.
        "storage": {"url": f"file:{STORAGE}", "existingClaim": "files", "mountPath": STORAGE},
        "secrets": {"keys": {name: name.lower() for name in SECRETS}},
        "web": {"port": free_port()},
        "exporter": {"port": free_port()},
    }
    return objects(merged(read_values("minimal"), values))


@pytest.fixture
def start(found: list[Object], environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a container. What still runs ends with the test."""
    running: list[PodProcess] = []

    def of(name: str) -> Container:
        return next(one for one in containers(found) if one.owner["metadata"]["name"].endswith(f"-{name}"))

    def begin(name: str) -> PodProcess:
        secrets = {name: environment[name] for name in SECRETS}
        running.append(PodProcess(of(name), found, secrets, tmp_path / name))
        return running[-1]

    yield begin
    for process in running:
        process.kill()


@pytest.mark.requirement(SECTION, "the jobs, a worker and the relay run with the variables of the chart")
def test_the_jobs_prepare_what_the_worker_needs(start: Start) -> None:
    """The root file system is read-only, and there are no capabilities, as in the pod."""
    for job in ("database", "topics", "test-topics"):
        done = start(job)
        assert done.wait() == 0, done.output()

    worker = start("low")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        wait_for(lambda probe=probe: worker.probe(probe), f"the {probe}", START)  # type: ignore[misc]  # bound now
    assert worker.stop() == 0, worker.output()

    relay = start("relay")
    wait_for(lambda: "active" in relay.output(), "the relay to be active", START)
    assert relay.stop() == 0, relay.output()


def test_the_exporter_answers_its_probes(start: Start) -> None:
    for job in ("database", "topics"):
        assert start(job).wait() == 0
    exporter = start("exporter")
    for probe in ("livenessProbe", "readinessProbe"):
        wait_for(lambda probe=probe: exporter.probe(probe), f"the {probe}", START)  # type: ignore[misc]  # bound now
    exporter.kill()
