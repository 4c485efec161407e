"""Processor time and memory of processes, read from the kernel."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from streams.delivery.process_pool.usage import UsageMeter

BUSY = "x = bytearray(30 << 20); print('ready', flush=True)\nwhile True: pass"


@pytest.fixture
def busy() -> Iterator["subprocess.Popen[str]"]:
    """Run a process that uses its processor, and 30 MiB."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.requirement("Logs and metrics", "processor time and memory of the worker and of its compute processes")
def test_the_numbers_are_those_of_the_kernel(busy: "subprocess.Popen[str]") -> None:
    usage = UsageMeter()
    usage.started(busy.pid)
    while psutil.Process(busy.pid).cpu_times().user < 0.1:
        pass
    found = usage.read()
    assert found.processes == 1
    times = psutil.Process(busy.pid).cpu_times()
    assert 0.1 <= found.processor_seconds <= times.user + times.system
    assert 30 << 20 < found.memory_bytes < 200 << 20


def test_the_processor_time_never_decreases(busy: "subprocess.Popen[str]") -> None:
    """A process may have ended before anyone reports it. Then what was read last still counts."""
    usage = UsageMeter()
    usage.started(busy.pid)
    while psutil.Process(busy.pid).cpu_times().user < 0.1:
        pass
    before = usage.read().processor_seconds
    busy.kill()
    busy.wait()
    assert usage.read().processor_seconds == before
    assert usage.read().memory_bytes == 0
    usage.ended(busy.pid, None)
    assert usage.read() == (0, before, 0)
    usage.started(1_000_000_000)  # no such process
    usage.ended(1_000_000_000, 2.5)
    assert usage.read() == (0, before + 2.5, 0)
