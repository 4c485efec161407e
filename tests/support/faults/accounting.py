"""The check that each scenario ends with: every event accounted for, once, and nothing left over."""

import os
from pathlib import Path

from sqlalchemy import Engine

from tests.support.apps.trials import HANDLERS, Trial
from tests.support.cli import Commands
from tests.support.faults.load import Load
from tests.support.processes.worker_process import Streams, WorkerProcess, rows, scalar, wait_for

EFFECTS = "select event_id, handler from trials where handler in ('try-single', 'try-batch', 'try-long')"
OPEN = "select count(*) from streams.executions where status in ('started', 'retry')"
ENDED = "select count(*) from streams.executions where status in ('success', 'failure')"


def settle_accounts(engine: Engine, streams: Streams | Commands, load: Load, *, seconds: float = 120.0) -> None:
    """Wait until all is settled; then: one effect and one successful execution each, and nothing that still waits."""
    count = len(load.events)
    wait_for(lambda: scalar(engine, ENDED) == count and scalar(engine, OPEN) == 0, f"{count} executions", seconds)
    found = sorted((str(row["event_id"]), str(row["handler"])) for row in rows(engine, EFFECTS))
    due = sorted((str(event.event_id), handler_of(event)) for event in load.events)
    assert found == due, f"{len(found)} effects, {len(set(found))} different ones, for {len(due)} events"
    assert (
        rows(engine, "select event_id, handler, reason, error from streams.executions where status <> 'success'") == []
    )
    nothing_waits(engine, streams)


def nothing_waits(engine: Engine, streams: Streams | Commands) -> None:
    """No row of the outbox, no lease, no record above a committed offset; nothing is taken for deadly."""
    wait_for(lambda: scalar(engine, "select count(*) from streams.outbox") == 0, "the outbox to be empty")
    assert scalar(engine, "select count(*) from streams.leases") == 0
    assert scalar(engine, "select count(*) from streams.suspects where runs > 1") == 0
    assert scalar(engine, "select count(*) from streams.dead_letters") == 0
    wait_for(lambda: backlog(streams) == 0, "the offsets to be committed")


def attempts_are_counted(engine: Engine, load: Load) -> None:
    """An attempt each, and a second one of those that fail once: nothing that broke has burned any."""
    due = {str(event.event_id): 2 if event.times else 1 for event in load.events}
    found = rows(engine, "select event_id, attempts, history from streams.executions where handler <> 'try-long'")
    assert [row for row in found if row["attempts"] != due[str(row["event_id"])]] == []


def leave_in_order(*workers: WorkerProcess) -> None:
    """Workers end with code 0 and leave no process behind."""
    for worker in workers:
        assert worker.stop() == 0, worker.output()[-3000:]
    ports = [worker.port for worker in workers]
    wait_for(lambda: [pid for port in ports for pid in processes_of(port)] == [], "every process of them to end")


def handler_of(event: Trial) -> str:
    """The one handler of a trial event."""
    return next(handler.name for handler in HANDLERS if handler.event is type(event))


def backlog(streams: Streams | Commands) -> int:
    """Records above the committed offsets, of all pools."""
    lag = streams.json("lag")
    assert isinstance(lag, list)
    return sum(row["lag"] for row in lag)


def processes_of(port: int) -> list[int]:
    """The processes of the worker with that web port: itself, and those that it has started."""
    mark = f"STREAMS_WEB_PORT={port}".encode()
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if mark in _environment(folder)]


def _environment(folder: Path) -> list[bytes]:
    if int(folder.name) == os.getpid():
        return []
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def none_was_early(engine: Engine) -> None:
    """No second attempt began within the second that the trial handlers' retries wait, by the workers' clocks."""
    early = rows(
        engine,
        """
        select event_id, started_at::text, history->0->>'completed_at' as failed_at from streams.executions
        where attempts = 2 and handler <> 'try-long' and jsonb_array_length(history) >= 1
            and started_at < (history->0->>'completed_at')::timestamptz + interval '1 second'
        """,
    )
    assert early == []
