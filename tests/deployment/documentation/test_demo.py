"""The demo, run as a user does."""

import json
from pathlib import Path

import pytest

from streams.local.demo.documents import HANDBOOK
from tests.support.processes.demo_process import ROOM, demo, processes_in
from tests.support.processes.worker_process import ROOT, Streams, WorkerProcess


@pytest.mark.requirement("A new user's two commands", "`make demo` on a machine with Python ≥ 3.11 and nothing else")
@pytest.mark.requirement("The local stack", "nothing is left running after the demo")
@pytest.mark.requirement("The demo", "all of its steps, each looked up; under 90 s; nothing left")
@pytest.mark.requirement("Bad input", "a file missing in the storage: retries, then DLQ")
def test_the_demo_shows_the_whole_job_and_leaves_nothing_running(tmp_path: Path) -> None:
    """It exits with 0 in time, every figure matches the handbook, and no process is left."""
    done = demo(tmp_path, "--json")

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    handbook = list(HANDBOOK.iterdir())
    assert summary["documents"] == len(handbook)
    assert summary["segments"] > summary["documents"]
    assert summary["documents_per_second"] > 0
    assert summary["passages"][0]["document"] == "annual-leave.md"
    assert summary["attempts"] == 4
    assert summary["dead_letter"].startswith("document.index-requested.streams.dlq:")
    assert summary["dead_letter_reason"] == "exhausted"
    assert 0 <= summary["retry_latest"] <= 1
    # The document that was added late, and its segment, are deleted with the others at the end.
    assert summary["had"]["documents"] == len(handbook) + 1
    assert summary["had"]["vectors"] == summary["had"]["document_segments"] == summary["segments"] + 1
    assert set(summary["left"].values()) == {0}
    assert summary["seconds"] < 90
    assert processes_in(tmp_path) == []


@pytest.mark.requirement("Containers", "the demo runs on servers and workers that run already")
@pytest.mark.usefixtures("topics")
def test_the_demo_uses_servers_and_workers_that_run(environment: dict[str, str], tmp_path: Path) -> None:
    """With the retries of the compose file. The worker still runs at the end, and nothing of the demo is left."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("annual-leave.md", "meetings.txt"):
        (folder / name).write_bytes((HANDBOOK / name).read_bytes())
    own = environment | {"STREAMS_OVERRIDES": str(ROOT / "deploy" / "compose" / "overrides.toml")}
    worker = WorkerProcess(own, tmp_path / "worker.log").start()
    try:
        summary = Streams(own).json("demo", str(folder), "--existing")
        assert worker.page("/health/ready")[0] == 200
    finally:
        worker.kill()

    assert isinstance(summary, dict)
    assert (summary["documents"], summary["attempts"]) == (2, 4)
    assert set(summary["left"].values()) == {0}


def test_other_retries_are_refused_before_anything_is_written(environment: dict[str, str]) -> None:
    done = Streams(environment | {"STREAMS_RETRY_DELAYS": "0s,10s"}).run("demo", "--existing")
    assert done.returncode == 1
    assert done.stderr == "streams: the demo needs STREAMS_RETRY_DELAYS=0s,1s,2s,4s, here and at the workers\n"


@pytest.mark.requirement("The demo", "a folder of one's own; one without documents is refused")
def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    """Nothing is started. It exits with 2 and one line that names the supported file types."""
    (tmp_path / "picture.png").write_bytes(b"")

    done = demo(tmp_path, str(tmp_path))

    assert done.returncode == 2
    assert done.stderr == (
        f"streams: {tmp_path} contains no documents: the demo indexes files of type "
        "csv, docx, eml, epub, htm, html, markdown, md, mdx, pdf, pptx, properties, txt, vtt, xls, xlsx, xml\n"
    )
    assert not (tmp_path / ROOM).exists()


def test_a_folder_that_the_demo_did_not_make_is_not_removed(tmp_path: Path) -> None:
    """A folder with the demo's name that the demo did not create stays. It exits with 1 and one line."""
    notes = tmp_path / ROOM / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")

    done = demo(tmp_path)

    assert done.returncode == 1
    assert "was not made by the demo" in done.stderr
    assert notes.read_text() == "mine"
