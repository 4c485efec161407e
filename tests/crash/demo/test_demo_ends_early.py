"""A demo that is interrupted, or whose document cannot be indexed, ends with one line and leaves nothing running."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.processes.demo_process import demo, environment, processes_in
from tests.support.processes.preloaded import BIN
from tests.support.processes.worker_process import wait_for


@pytest.mark.requirement("The demo", "non-zero if anything it claims did not happen")
@pytest.mark.requirement("The demo", "a folder of one's own; one without documents is refused")
def test_a_document_that_cannot_be_indexed_fails_the_demo(tmp_path: Path) -> None:
    """It exits with 1 and one line that names the document and the reason."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "fine.md").write_text("# Fine\n\nThis document can be indexed.\n")
    (documents / "dots.txt").write_text("...")

    done = demo(tmp_path, str(documents))

    assert done.returncode == 1
    assert done.stderr == "streams: dots.txt was not indexed: the file contains nothing but punctuation\n"
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
