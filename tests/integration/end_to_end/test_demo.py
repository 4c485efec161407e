"""The demo, run as a user does."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from streams.local.demo.documents import HANDBOOK
from tests.support.processes.worker_process import BIN, wait_for

ROOM = Path("demo")


def environment(folder: Path) -> dict[str, str]:
    """Return a user's environment, in which the demo's folder is the only setting."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STREAMS_")}
    return {**kept, "STREAMS_LOCAL_DIR": str(folder)}


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "streams", "demo", *arguments],
        env=environment(folder),
        text=True,
        capture_output=True,
        timeout=110,
        check=False,
    )


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of processes whose command or environment has the demo's folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if process.name.isdigit() and (str(folder / ROOM) in command or str(folder / ROOM) in environ):
            found.append(command)
    return found


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


@pytest.mark.requirement("The demo", "non-zero if anything it claims did not happen")
@pytest.mark.requirement("The demo", "a folder of one's own; one without documents is refused")
def test_a_document_that_cannot_be_indexed_fails_the_demo(tmp_path: Path) -> None:
    """It exits with 1 and one line that names the document and the reason."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "fine.md").write_text("# Fine\n\nThis document can be indexed.\n")
    (documents / "empty.txt").write_text("")

    done = demo(tmp_path, str(documents))

    assert done.returncode == 1
    assert done.stderr == "streams: empty.txt was not indexed: the file is empty\n"
    assert processes_in(tmp_path) == []


@pytest.mark.requirement("The local stack", "nothing is left running after the demo")
@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, "is ready"), (signal.SIGTERM, "servers answer")])
def test_an_interrupted_demo_leaves_nothing_running(number: signal.Signals, moment: str, tmp_path: Path) -> None:
    """Ctrl-C once the worker is ready, and SIGTERM while it starts: exit 130, one line, and no process is left.

    SIGTERM is sent to a background job of a script, for which the shell ignores SIGINT.
    """
    output = tmp_path / "output"
    command: list[str | Path] = [BIN / "streams", "demo"]
    if number == signal.SIGTERM:
        command = ["/bin/sh", "-c", 'trap "" INT; exec "$0" demo', BIN / "streams"]
    with output.open("w") as file:
        running = subprocess.Popen(command, env=environment(tmp_path), stdout=file, stderr=file, start_new_session=True)
    try:
        wait_for(lambda: moment in output.read_text() or running.poll() is not None, moment, seconds=60)
        running.send_signal(number)
        assert running.wait(45) == 130, output.read_text()
    finally:
        if running.poll() is None:
            running.kill()
    assert output.read_text().endswith("streams: interrupted, nothing is left running\n")
    assert processes_in(tmp_path) == []


@pytest.mark.requirement("The demo", "a folder of one's own; one without documents is refused")
def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    """Nothing is started. It exits with 2 and one line that names the supported file types."""
    (tmp_path / "picture.png").write_bytes(b"")

    done = demo(tmp_path, str(tmp_path))

    assert done.returncode == 2
    assert done.stderr == (
        f"streams: {tmp_path} contains no documents: the demo indexes files of type "
        "csv, docx, eml, epub, htm, html, markdown, md, mdx, pdf, pptx, txt, xls, xlsx\n"
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
