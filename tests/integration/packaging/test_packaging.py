"""The built wheel in an environment of its own: what a producer in another service installs, and no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas import DocumentDeleted
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.processes.worker_process import ROOT, Streams

PUBLISH = """
from schemas import DocumentDeleted
from streams.publishing import EventProducer

with EventProducer() as producer:
    placed = producer.publish(DocumentDeleted(document_id="d", dataset_id="s", doc_form="text_model"))
print(placed.topic)
"""
LEFT_OUT = ("faust", "structlog", "typer", "psycopg", "alembic", "wordllama", "numpy")


def run(*command: str | Path, **environment: str) -> str:
    """A command's output; fails with what it said."""
    done = subprocess.run(
        [str(part) for part in command],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.timeout(240)
def test_the_base_install_publishes_and_brings_no_worker(
    topics: Settings, environment: dict[str, str], streams: Streams, tmp_path: Path
) -> None:
    """The wheel, its base requirements at the locked versions: an event arrives; Faust and its kin are not there."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    locked = (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join(line.rstrip(" \\") for line in locked if "==" in line))
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", constraints, wheel, **pip_settings())
    published = run(python, "-c", PUBLISH, **environment)
    name = load_catalogue(topics).of(DocumentDeleted).name
    assert published.strip() == name
    found = streams.json("lag")
    assert isinstance(found, list)
    assert sum(row["end_offset"] for row in found if row["topic"] == name) == 1
    there = run(python, "-c", f"import importlib.util as u; print([m for m in {LEFT_OUT!r} if u.find_spec(m)])")
    assert there.strip() == "[]"


def pip_settings() -> dict[str, str]:
    """How this machine reaches packages, if it says so."""
    return {
        name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.lower().endswith("proxy")
    }
