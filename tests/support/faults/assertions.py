"""The checks at the end of a crash test: every event has one effect, and nothing is left over."""

import os
from pathlib import Path

from sqlalchemy import Engine

from tests.support.apps.trials import HANDLERS, Trial
from tests.support.cli import Commands
from tests.support.faults.load import Load
from tests.support.processes.worker_process import Streams, WorkerProcess, rows, scalar, wait_for

EFFECTS = "select event_id, handler from trials where handler in ('try-single', 'try-batch', 'try-long')"
OPEN = "select count(*) from streams.executions where status in ('started', 'retry')"
LEASES = "select count(*) from streams.leases where handler <> 'stuck-documents'"
"""Leases of deliveries. The search for stuck documents holds one all the time."""
ENDED = "select count(*) from streams.executions where status in ('success', 'failure')"


def assert_each_done_once(engine: Engine, streams: Streams | Commands, load: Load, *, seconds: float = 120.0) -> None:
    """Wait until all events are settled. Then check that each has one effect and one successful execution.

    Args:
        engine: The engine of the test's database.
        streams: Runs commands.
        load: The published events.
        seconds: How long to wait.
    """
    count = len(load.events)
    wait_for(lambda: scalar(engine, ENDED) == count and scalar(engine, OPEN) == 0, f"{count} executions", seconds)
    found = sorted((str(row["event_id"]), str(row["handler"])) for row in rows(engine, EFFECTS))
    due = sorted((str(event.event_id), handler_of(event)) for event in load.events)
    assert found == due, f"{len(found)} effects, {len(set(found))} different ones, for {len(due)} events"
    assert (
        rows(engine, "select event_id, handler, reason, error from streams.executions where status <> 'success'") == []
    )
    assert_nothing_pending(engine, streams)


def assert_nothing_pending(engine: Engine, streams: Streams | Commands) -> None:
    """Check that there is no outbox row, lease, suspect, dead letter, or record above a committed offset."""
    wait_for(lambda: scalar(engine, "select count(*) from streams.outbox") == 0, "the outbox to be empty")
    assert scalar(engine, LEASES) == 0
    assert scalar(engine, "select count(*) from streams.suspects where runs > 1") == 0
    assert scalar(engine, "select count(*) from streams.dead_letters") == 0
    wait_for(lambda: backlog(streams) == 0, "the offsets to be committed")


def assert_attempts(engine: Engine, load: Load) -> None:
    """Check that each event had one attempt, or two if its first one fails: faults cost no attempt."""
    due = {str(event.event_id): 2 if event.times else 1 for event in load.events}
    found = rows(engine, "select event_id, attempts, history from streams.executions where handler <> 'try-long'")
    assert [row for row in found if row["attempts"] != due[str(row["event_id"])]] == []


def stop_cleanly(*workers: WorkerProcess) -> None:
    """Stop workers. Check that they exit with code 0 and leave no process."""
    for worker in workers:
        assert worker.stop() == 0, worker.output()[-3000:]
    ports = [worker.port for worker in workers]
    wait_for(lambda: [pid for port in ports for pid in processes_of(port)] == [], "every process of them to end")


def handler_of(event: Trial) -> str:
    """Return the name of the handler of a trial event."""
    return next(handler.name for handler in HANDLERS if handler.event is type(event))


def backlog(streams: Streams | Commands) -> int:
    """Return the number of records above the committed offsets of all pools."""
    lag = streams.json("lag")
    assert isinstance(lag, list)
    return sum(row["lag"] for row in lag)


def processes_of(port: int) -> list[int]:
    """Return the processes of the worker with this web port: itself, and those that it has started."""
    mark = f"STREAMS_WEB_PORT={port}".encode()
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if mark in _environment(folder)]


def _environment(folder: Path) -> list[bytes]:
    if int(folder.name) == os.getpid():
        return []
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def assert_no_early_retry(engine: Engine) -> None:
    """Check that no second attempt started before the delay of one second, by the workers' clocks."""
    early = rows(
        engine,
        """
        select event_id, started_at::text, history->0->>'completed_at' as failed_at from streams.executions
        where attempts = 2 and handler <> 'try-long' and jsonb_array_length(history) >= 1
            and started_at < (history->0->>'completed_at')::timestamptz + interval '1 second'
        """,
    )
    assert early == []
