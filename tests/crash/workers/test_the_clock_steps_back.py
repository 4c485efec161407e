"""The clock of a worker's machine steps back by an hour, while it works and retries wait; later it steps forward again.

Expected: nothing waits an hour longer for it: each event has its effect once, and soon; each second attempt comes its
wait after the first one failed, by a clock that went on. (Needs a C compiler: the clock is the worker's alone.)
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
from tests.support.faults.accounting import attempts_are_counted, leave_in_order, settle_accounts
from tests.support.faults.group_protocols import both_protocols
from tests.support.faults.load import Load, mixed, published_beside
from tests.support.processes.worker_process import Streams, WorkerProcess, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
HOUR = 3600
WAIT = 12
"""Seconds until a second attempt: so many have all to be at the first one before any is at its second."""


def shifted_clock(folder: Path) -> tuple[Path, dict[str, str]]:
    """A file with the shift in seconds, and the environment that makes a process follow it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None, "this scenario needs a C compiler: install gcc"
    library, shift = folder / "clock.so", folder / "clock"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=60)
    set_clock(shift, 0)
    return shift, {"LD_PRELOAD": str(library), "STREAMS_TEST_CLOCK": str(shift)}


def set_clock(shift: Path, seconds: int) -> None:
    """The worker's clock is so many seconds off from now on."""
    with shift.open("r+b" if shift.exists() else "w+b") as file:
        file.write(struct.pack("=q", seconds))


@pytest.mark.timeout(240)
@both_protocols
def test_nothing_waits_an_hour_longer(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams, tmp_path: Path
) -> None:
    shift, clock = shifted_clock(tmp_path)
    waiting = [SingleTrialRequested(entity=f"w{number}", plan="ask", seconds=WAIT, times=1) for number in range(40)]
    load = Load([*waiting, *mixed(2_000).events])
    one = worker(**clock).start()
    began = time.time()
    with published_beside(trial, engine, load, seconds=20):
        asked = "select count(*) from streams.executions where status = 'retry' and due_at > now() + interval '2 s'"
        wait_for(lambda: int(str(scalar(engine, asked))) >= len(waiting), "the retries to wait")
        set_clock(shift, -HOUR)
        time.sleep(10)
        set_clock(shift, 0)
    settle_accounts(engine, streams, load, seconds=60)
    past = "(history->0->>'started_at')::timestamptz < now() - interval '30 minutes'"
    assert rows(engine, f"select 1 from streams.executions where {past}"), "no attempt failed in the past"
    attempts_are_counted(engine, load)
    early = rows(
        engine,
        "select at from trials where entity like 'w%' and extract(epoch from at) < :due",
        due=began + WAIT - 0.1,
    )
    assert early == []
    leave_in_order(one)
