"""The preloaded commands of the tests: a process of its own has nothing of another call."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes.preloaded import commands_folder
from tests.support.processes.worker_process import wait_for

NOWHERE = {
    "STREAMS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "STREAMS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
}


@pytest.mark.skipif("coverage" in sys.modules, reason="the real commands are measured")
def test_a_process_keeps_no_file_of_another_call_open(tmp_path: Path) -> None:
    """A command whose output is read to its end, as in `$(streams …)`, starts while a relay starts, too."""
    reader, writer = os.pipe()
    log = tmp_path / "relay.log"
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(commands_folder() / "socket"))
        socket.send_fds(asking, [b"1000\n"], [writer] * 3)
        os.close(writer)
        with log.open("wb") as output:
            relay = subprocess.Popen(
                [commands_folder() / "streams", "relay", "--wait"],
                env={**os.environ, **NOWHERE},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(log.read_text, "the relay's first line")
            asking.close()
            os.set_blocking(reader, False)
            wait_for(lambda: ended(reader), "the end of the pipe", seconds=10)
            assert relay.poll() is None
        finally:
            relay.send_signal(signal.SIGTERM)
            assert relay.wait(30) == 0
            os.close(reader)


def ended(reader: int) -> bool:
    """Return whether nobody can write to a pipe any more."""
    try:
        return os.read(reader, 100) == b""
    except BlockingIOError:
        return False
