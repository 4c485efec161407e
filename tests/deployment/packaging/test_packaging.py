"""The built wheel in a new environment: what another service installs, what it can run, and which types it gets."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from release.distribution import Distributions
from schemas import DocumentDeleted
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.cli import Commands
from tests.support.processes.worker_process import ROOT

PUBLISH = """
from schemas import DocumentDeleted
from streams.publishing import EventProducer

with EventProducer() as producer:
    placed = producer.publish(DocumentDeleted(document_id="d", dataset_id="s", doc_form="text_model"))
print(placed.topic)
"""
LEFT_OUT = ("faust", "structlog", "typer", "psycopg", "alembic", "wordllama", "numpy")
USERS_CODE = """
from pathlib import Path
from typing import assert_type

from schemas import DocumentDeleted, Event
from streams import __version__
from streams.delivery import Backoff, Handler, Permanent, Work, handles
from streams.publishing import EventProducer, Outbox
from streams.settings import Settings, load_settings
from streams.topics import Topic
from sqlalchemy import text
from sqlalchemy.orm import Session


class InvoicePaid(Event):
    invoice_id: str
    amount: int


@handles(InvoicePaid, retry=Backoff(first="10s", factor=2, attempts=4), soft_time_limit="10s", time_limit="20s")
async def book_payment(event: InvoicePaid, work: Work) -> dict[str, int]:
    if event.amount < 0:
        raise Permanent("a payment below zero")
    assert_type(work.attempt, int)
    await work.session.execute(text("select 1"))
    await work.publish(DocumentDeleted(document_id="d", dataset_id="s", doc_form="text_model"))
    return {"amount": event.amount}


TOPICS = (Topic("invoice.paid", InvoicePaid, key="invoice_id", pool="high"),)
HANDLERS: tuple[Handler[InvoicePaid]] = (book_payment,)


def publish(session: Session) -> str:
    event = InvoicePaid(invoice_id="1", amount=100)
    Outbox(session).publish(event)
    with EventProducer() as producer:
        placed = producer.publish(event)
    assert_type(placed.offset, int)
    return placed.topic


def servers(settings: Settings | None = None) -> str:
    found = settings or load_settings()
    assert_type(found.outbox_poll_interval, float)
    assert_type(__version__, str)
    return found.kafka_bootstrap_servers
"""
MISTAKES = """
from streams.publishing import EventProducer
from streams.settings import load_settings

EventProducer().publish("no event")
load_settings().kafka_servers
"""


def run(*command: str | Path, **environment: str) -> str:
    """A command's output; fails with what it said. Not run in the project's folder, where Python finds the sources."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist, and the wheel that was built from it: one build for all tests."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return Distributions.of(folder)


@pytest.mark.requirement("Development", "a release is checked: contents, installation, version, changelog")
@pytest.mark.timeout(240)
def test_wheel_and_sdist_have_what_belongs_there(built: Distributions) -> None:
    """Every file of the packages, Avro schemas, migrations and `py.typed` included; the wheel has no tests."""
    assert built.faults() == []


@pytest.fixture(scope="module")
def python(built: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that has the wheel and its base requirements, at the locked versions."""
    folder = tmp_path_factory.mktemp("installed")
    locked = (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(line.rstrip(" \\") for line in locked if "==" in line))
    run(sys.executable, "-m", "venv", folder / "venv")
    made = folder / "venv" / "bin" / "python"
    run(made, "-m", "pip", "install", "--quiet", "-c", constraints, built.wheel, **pip_settings())
    return made


@pytest.mark.requirement("A new user's two commands", "a producer installs the base alone")
@pytest.mark.timeout(240)
def test_the_base_install_publishes_and_brings_no_worker(
    python: Path, topics: Settings, environment: dict[str, str], commands: Commands
) -> None:
    """An event arrives; Faust and its kin are not there."""
    published = run(python, "-c", PUBLISH, **environment)
    name = load_catalogue(topics).of(DocumentDeleted).name
    assert published.strip() == name
    found = commands.json("lag")
    assert isinstance(found, list)
    assert sum(row["end_offset"] for row in found if row["topic"] == name) == 1
    there = run(python, "-c", f"import importlib.util as u; print([m for m in {LEFT_OUT!r} if u.find_spec(m)])")
    assert there.strip() == "[]"


@pytest.mark.requirement("Source tree and packaging", "`__version__`, `streams --version`")
def test_the_installed_package_knows_its_version(python: Path) -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(python, "-c", "import streams; print(streams.__version__)").strip() == stated


@pytest.mark.requirement(
    "Source tree and packaging",
    "`py.typed` is shipped in both packages; a user's file is type-checked against the wheel",
)
@pytest.mark.timeout(240)
def test_a_user_gets_types_from_the_installed_wheel(python: Path, tmp_path: Path) -> None:
    """Strict mypy accepts a package with an event, a handler, a publisher and settings, and sees a user's mistakes."""
    assert mypy(python, tmp_path / "invoices.py", USERS_CODE) == "Success: no issues found in 1 source file"
    found = mypy(python, tmp_path / "mistakes.py", MISTAKES)
    assert 'Argument 1 to "publish" of "EventProducer" has incompatible type "str"; expected "Event"' in found
    assert '"Settings" has no attribute "kafka_servers"' in found


@pytest.mark.requirement(
    "Source tree and packaging",
    "`py.typed` is shipped in both packages; a user's file is type-checked against the wheel",
)
@pytest.mark.timeout(240)
@pytest.mark.parametrize("package", ["streams", "schemas"])
def test_without_its_marker_a_package_has_no_types(python: Path, tmp_path: Path, package: str) -> None:
    """So the test above would fail where the wheel leaves `py.typed` out."""
    found = run(python, "-c", f"import {package}; print({package}.__file__)").strip()
    marker = Path(found).parent / "py.typed"
    assert marker.is_relative_to(python.parents[1])
    marker.unlink()
    try:
        complaints = mypy(python, tmp_path / f"without_{package}.py", USERS_CODE)
    finally:
        marker.touch()
    assert "module is installed, but missing library stubs or py.typed marker" in complaints
    assert f'"{package}' in complaints


def mypy(python: Path, file: Path, code: str) -> str:
    """What strict mypy says of a user's file, with the packages of that environment and no configuration."""
    file.write_text(code)
    cache = python.parents[2] / "mypy-cache"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull]
    done = subprocess.run(
        [*command, "--python-executable", str(python), "--cache-dir", str(cache), str(file)],
        cwd=file.parent,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.strip()


def pip_settings() -> dict[str, str]:
    """How this machine reaches packages, if it says so."""
    return {
        name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.lower().endswith("proxy")
    }
