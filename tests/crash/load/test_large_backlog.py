"""A backlog of a million events, handlers that take 50 ms, records of a megabyte, and 100,000 records of one key.

Expected: a worker's resident memory stays constant and under 400 MB. The worker handles large records and one long
lane, and work of other keys continues at the same time.
"""

import sys
import time
from collections.abc import Callable, Iterator
from statistics import mean

import pytest
from sqlalchemy import Engine

from benchmarks.memory import resident
from streams.settings import Settings
from tests.support.apps.trials import BatchTrialRequested, SingleTrialRequested
from tests.support.processes.worker_process import WorkerProcess, publish, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
BACKLOG = 1_000_000
WATCHED = 300.0
"""Seconds."""
LIMIT = 400.0
"""MB of 10^6 bytes."""
SLACK = 20.0
"""MB by which the last minute may exceed the second one."""
MEBIBYTE = 1.048576
ONE_KEY = 100_000
IN_KAFKA = 1_000_000
"""Bytes up to which a value is sent in its record."""
LARGE = 60
"""Records of a megabyte: more than a partition's window in bytes."""


@pytest.mark.requirement(
    "Faults and operations",
    "a backlog of a million, watched for five minutes; large records; 100,000 records of one key",
)
@pytest.mark.timeout(900)
def test_memory_stays_flat(trial: Settings, engine: Engine, worker: MakeWorker) -> None:
    count = publish(trial, events())
    assert count == BACKLOG
    one = worker().start()
    assert one.process is not None
    began, seen = time.monotonic(), []
    while time.monotonic() - began < WATCHED:
        seen.append((time.monotonic() - began, resident(one.process.pid) * MEBIBYTE))
        time.sleep(0.5)
    done = int(str(scalar(engine, "select count(*) from streams.executions where status = 'success'")))
    early = mean(size for at, size in seen if 60 <= at < 120)
    late = mean(size for at, size in seen if at >= WATCHED - 60)
    most = max(size for _, size in seen)
    sys.stdout.write(f"{done} done; {early:.0f} MB in the second minute, {late:.0f} in the last, {most:.0f} at most\n")
    assert done > WATCHED * 50
    assert most < LIMIT
    assert late < early + SLACK


def events() -> Iterator[SingleTrialRequested]:
    """Yield events of a thousand keys and fifty tenants."""
    for number in range(BACKLOG):
        yield SingleTrialRequested(entity=f"e{number % 1000}", tenant_id=f"t{number % 50}", plan="sleep", seconds=0.05)


@pytest.mark.requirement(
    "Faults and operations",
    "a backlog of a million, watched for five minutes; large records; 100,000 records of one key",
)
@pytest.mark.timeout(2_400)
def test_large_records_and_a_long_lane(trial: Settings, engine: Engine, worker: MakeWorker) -> None:
    """Sixty records of a megabyte are handled. 100,000 of one key run one by one, and another tenant's meanwhile."""
    whole = trial.model_copy(update={"claim_check_bytes": IN_KAFKA})  # otherwise the values would go to the storage
    publish(whole, (BatchTrialRequested(entity=f"e{number}", padding="x" * 990_000) for number in range(LARGE)))
    publish(trial, (SingleTrialRequested(entity="one") for _ in range(ONE_KEY)))
    one = worker(STREAMS_CLAIM_CHECK_BYTES=str(IN_KAFKA)).start()
    assert one.process is not None
    large = "select count(*) from streams.executions where handler = 'try-batch' and status = 'success'"
    wait_for(lambda: scalar(engine, large) == LARGE, "the large records", 60)
    publish(trial, [SingleTrialRequested(entity=f"other{number}", tenant_id="another") for number in range(20)])
    others = "select count(*) from trials where entity like 'other%'"
    wait_for(lambda: scalar(engine, others) == 20, "the other keys", 60)
    waiting = ONE_KEY - int(str(scalar(engine, "select count(*) from trials where entity = 'one'")))
    assert waiting > 0, "the long lane ended too early for this test"
    assert resident(one.process.pid) * MEBIBYTE < LIMIT
    wait_for(lambda: scalar(engine, "select count(*) from trials where entity = 'one'") == ONE_KEY, "the lane", 1_800)
    assert scalar(engine, "select count(distinct event_id) from trials where entity = 'one'") == ONE_KEY
    assert one.process.poll() is None
