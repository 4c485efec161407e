"""A server process is known as soon as it runs, whatever interrupts its start."""

import signal
import subprocess
import threading
from pathlib import Path

import pytest

from streams.local.process import ServerProcess, signals_deferred

SLEEP = ["/bin/sleep", "60"]


@pytest.mark.requirement("The local stack", "nothing is left running after the demo")
def test_a_process_whose_start_is_interrupted_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes when the process runs, and before anybody knows its number."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def interrupted(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))  # type: ignore[call-overload]  # as it is called
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    server = ServerProcess("the server", tmp_path / "server")
    try:
        with pytest.raises(KeyboardInterrupt):
            server.start(SLEEP)
        assert server.pid == started[0].pid
        assert server.stop()
        assert started[0].wait(10) == -signal.SIGTERM
    finally:
        started[0].kill()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_changes_no_handlers() -> None:
    seen: list[object] = []

    def look() -> None:
        with signals_deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
