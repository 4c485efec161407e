"""The Dockerfile's steps, run in an empty folder: what the image has, and a worker in it as another user."""

import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from schemas import DocumentDeleted
from streams.settings import Settings
from tests.support.image.build import ImageBuild, reachable_interpreter
from tests.support.image.dockerfile import read_stages
from tests.support.pages import ROOT
from tests.support.processes.worker_process import START, free_port, publish, scalar, wait_for

USER = 10001
SECTION = "Containers"
LOCKED = re.compile(r"^([\w.-]+)==", re.MULTILINE)
BUILD_TOOLS = {"pip", "setuptools", "wheel", "hatchling", "editables"}
HEALTH = ("python", "/opt/streams/health.py")

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user"),
]


@pytest.fixture(scope="module")
def image() -> Iterator[ImageBuild]:
    """The image, built once. Every folder above it is open to other users, which pytest's own are not."""
    interpreter = reachable_interpreter(USER)
    if interpreter is None:
        pytest.skip("other users can run no Python 3.11 or newer here")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = ImageBuild(Path(folder), interpreter)
        made.build(read_stages())
        yield made


@pytest.fixture(scope="module")
def entry_point() -> str:
    (program,) = read_stages()[-1].last("ENTRYPOINT").words
    return program


@pytest.mark.requirement(SECTION, "the image has the locked packages of its extras and no build tools")
def test_the_environment_has_the_locked_packages_and_nothing_else(image: ImageBuild) -> None:
    (site,) = (image.root / "opt" / "streams" / "lib").glob("python3.*/site-packages")
    installed = {path.name.partition("-")[0].lower().replace("_", "-") for path in site.glob("*.dist-info")}
    locked = {name.lower().replace("_", "-") for name in LOCKED.findall((ROOT / "requirements/image.txt").read_text())}
    assert installed - locked == {"event-streams"}
    assert installed & BUILD_TOOLS == set()
    assert {"faust-streaming", "confluent-kafka", "jieba", "sentry-sdk", "boto3"} <= installed
    assert not list((image.root / "usr" / "local").rglob("site-packages/pip"))
    assert not (image.root / "build").exists()


@pytest.mark.requirement(SECTION, "one entry point runs streams and faust, as user 10001")
def test_the_entry_point_runs_both_programs_and_no_other(image: ImageBuild, entry_point: str) -> None:
    assert image.user == USER
    for program, answer in (("streams", "streams 0."), ("faust", "faust, version")):
        done = image.run(entry_point, program, "--version")
        assert done.returncode == 0, done.stderr
        assert answer in done.stdout
    shown = image.run(entry_point, *read_stages()[-1].last("CMD").words)
    assert "Usage: streams" in shown.stdout
    for command in ([], ["sh"], ["streamsx"], [""]):
        refused = image.run(entry_point, *command)
        assert refused.returncode == 2
        assert refused.stderr.startswith("entrypoint: the command must begin with streams or faust")


@pytest.mark.requirement(SECTION, "a worker of the image does its work and writes to /tmp and its storage alone")
def test_a_worker_handles_an_event_and_writes_nothing_else(
    image: ImageBuild, entry_point: str, topics: Settings, environment: dict[str, str], engine: Engine
) -> None:
    """Health follows the process: it fails before the start, passes while the worker runs, and fails after its end."""
    own = {name: value for name, value in environment.items() if name != "STREAMS_STORAGE_URL"}
    own |= {"STREAMS_WEB_PORT": str(free_port()), "STREAMS_LOG_FORMAT": "json"}
    before = _files(image)
    command = ("faust", "-A", "streams", "worker")
    role = _role(image, entry_point, *command)
    assert image.run(*HEALTH, role, **own).returncode == 1
    worker = image.start(entry_point, *command, **own)
    try:
        wait_for(lambda: image.run(*HEALTH, role, **own).returncode == 0 or worker.poll(), "the worker's health", START)
        assert worker.poll() is None
        ids = {"tenant_id": str(uuid4()), "document_id": str(uuid4()), "dataset_id": str(uuid4())}
        publish(topics, [DocumentDeleted(**ids, doc_form="text_model")])
        done = "select count(*) from streams.executions where status = 'success'"
        wait_for(lambda: scalar(engine, done), "the execution of the event", START)
    finally:
        worker.send_signal(signal.SIGTERM)
        output, errors = worker.communicate(timeout=30)
    assert worker.returncode == 0, (output + errors)[-3000:]
    assert image.run(*HEALTH, role, **own).returncode == 1
    assert _files(image) - before == set()


@pytest.mark.requirement(SECTION, "the health check of the image asks the port of the role")
def test_a_process_without_a_port_is_healthy_while_it_runs(image: ImageBuild, entry_point: str) -> None:
    """A relay and a job have no port; the engine sees their end. An exporter has its own port."""
    for command in (("streams", "relay", "--wait"), ("streams", "db", "upgrade")):
        assert image.run(*HEALTH, _role(image, entry_point, *command)).returncode == 0
    port = str(free_port())
    asked = image.run(*HEALTH, _role(image, entry_point, "streams", "exporter"), STREAMS_EXPORTER_PORT=port)
    assert asked.returncode == 1
    assert asked.stderr.startswith(f"http://127.0.0.1:{port}/health/live: ")


@pytest.mark.requirement(SECTION, "the steps of the Dockerfile are checked: a step that fails is seen")
def test_a_step_that_fails_fails_the_build(tmp_path: Path) -> None:
    stages = read_stages("FROM python AS build\nRUN test -e /opt/streams\n")
    with pytest.raises(AssertionError, match="RUN test -e /opt/streams"):
        ImageBuild(tmp_path, Path("/usr/bin/python3")).build(stages)


def _role(image: ImageBuild, *command: str) -> str:
    """Write the command line of process 1 as Linux shows it, below docker-init. Returns its path there."""
    file = image.root / "tmp" / "cmdline"
    file.write_text("\0".join(["/sbin/docker-init", "--", *command, ""]))
    file.chmod(0o644)
    return "/tmp/cmdline"  # noqa: S108 - of the image


def _files(image: ImageBuild) -> set[Path]:
    """Return the files of the image outside of the two folders that may be written to."""
    allowed = (image.root / "tmp", image.root / "var" / "lib" / "streams" / "storage")
    found = (Path(folder, name) for folder, _, names in os.walk(image.root) for name in names)
    return {path for path in found if not any(path.is_relative_to(one) for one in allowed)}
