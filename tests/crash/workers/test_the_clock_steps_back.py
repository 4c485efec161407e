"""The worker's clock steps back by an hour while retries wait; later it steps forward again.

Expected: no retry waits an hour longer. Each event soon has one effect, and each second attempt starts its delay after
the first one failed, by a monotonic clock. (Needs a C compiler: only the worker's clock changes.)
"""

import shutil
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.faults.assertions import assert_attempts, assert_each_done_once, stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import Load, mixed, publish_in_background
from tests.support.processes.worker_process import Streams, WorkerProcess, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
HOUR = 3600
WAIT = 12
"""Seconds until a second attempt: long enough for all events to have had their first one."""


def shifted_clock(folder: Path) -> tuple[Path, dict[str, str]]:
    """Return a file with the shift in seconds, and the environment that makes a process apply it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None, "this scenario needs a C compiler: install gcc"
    library, shift = folder / "clock.so", folder / "clock"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=60)
    set_clock(shift, 0)
    return shift, {"LD_PRELOAD": str(library), "STREAMS_TEST_CLOCK": str(shift)}


def set_clock(shift: Path, seconds: int) -> None:
    """Shift the worker's clock by `seconds` from now on."""
    with shift.open("r+b" if shift.exists() else "w+b") as file:
        file.write(struct.pack("=q", seconds))


@pytest.mark.requirement("Faults and operations", "the clock stepping back, both protocols")
@pytest.mark.timeout(240)
@both_protocols
def test_no_retry_is_delayed_by_the_clock_step(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams, tmp_path: Path
) -> None:
    shift, clock = shifted_clock(tmp_path)
    waiting = [SingleTrialRequested(entity=f"w{number}", plan="ask", seconds=WAIT, times=1) for number in range(40)]
    load = Load([*waiting, *mixed(2_000).events])
    one = worker(**clock).start()
    began = time.time()
    with publish_in_background(trial, engine, load, seconds=20):
        waiting_retries = (
            "select count(*) from streams.executions where status = 'retry' and due_at > now() + interval '2 s'"
        )
        wait_for(lambda: int(str(scalar(engine, waiting_retries))) >= len(waiting), "the retries to wait")
        set_clock(shift, -HOUR)
        time.sleep(10)
        set_clock(shift, 0)
    assert_each_done_once(engine, streams, load, seconds=60)
    past = "(history->0->>'started_at')::timestamptz < now() - interval '30 minutes'"
    assert rows(engine, f"select 1 from streams.executions where {past}"), "no attempt failed in the past"
    assert_attempts(engine, load)
    early = rows(
        engine,
        "select at from trials where entity like 'w%' and extract(epoch from at) < :due",
        due=began + WAIT - 0.1,
    )
    assert early == []
    stop_cleanly(one)
