"""Commands of operators: pause, cancel, and show the values in effect."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from streams.codec import build_codec
from streams.publishing import Outbox
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.apps.trials import BatchTrialRequested, SingleTrialRequested
from tests.support.cli import Commands
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
DONE = "select count(*) from streams.executions where status = 'success'"


@pytest.mark.requirement("Faults and operations", "pause and resume that outlive restarts")
def test_a_pause_outlives_restarts_and_ends_with_its_resume(
    trial: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    """A paused topic and a paused handler of another one: no worker starts their work. Later all runs once."""
    topic = load_catalogue(trial).of(SingleTrialRequested).name
    first = worker().start()
    assert commands.json("topics", "pause", topic) == {"kind": "topic", "name": topic, "paused": True}
    assert "was already paused" in commands.run("topics", "pause", topic).stdout
    assert commands.json("handlers", "pause", "try-batch")
    wait_for(lambda: first.output().count('"message": "paused"') == 2, "the worker to know")
    publish(trial, [SingleTrialRequested(entity=f"e{number}") for number in range(20)])
    publish(trial, [BatchTrialRequested(entity=f"e{number}") for number in range(20)])
    shown = {row["handler"]: row["paused_since"] for row in commands.rows("handlers", "list")}
    assert shown["try-single"]
    assert shown["try-batch"]
    assert shown["try-long"] is None
    who = {row["handler"]: str(row["paused_by"]) for row in commands.rows("handlers", "list")}
    assert f": streams topics pause {topic} (role " in who["try-single"]
    assert ": streams handlers pause try-batch (role " in who["try-batch"]
    assert who["try-long"] == "None"
    assert "streams handlers pause try-batch (role " in commands.run("handlers", "list", "--wide").stdout
    assert first.stop() == 0
    second = worker().start()
    wait_for(lambda: second.page("/metrics")[1].count('streams_deliveries_waiting{pool="default"} 20.0'), "its window")
    assert rows(engine, "select 1 from trials") == []

    assert commands.json("topics", "resume", topic) == {"kind": "topic", "name": topic, "paused": False}
    wait_for(lambda: scalar(engine, DONE) == 20, "the topic")
    assert commands.json("handlers", "resume", "try-batch")
    wait_for(lambda: scalar(engine, DONE) == 40, "the handler")
    assert rows(engine, "select event_id from trials group by event_id having count(*) > 1") == []
    assert "was not paused" in commands.run("handlers", "resume", "try-batch").stdout
    assert second.stop() == 0


def test_what_is_not_there_cannot_be_paused(settings: Settings, commands: Commands) -> None:  # noqa: ARG001 - set
    for arguments in (("topics", "pause", "no.such"), ("handlers", "pause", "no-such")):
        done = commands.run(*arguments)
        assert done.returncode == 2
        assert "no-such" in done.stderr or "no.such" in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.requirement("Faults and operations", "cancel of a waiting execution")
def test_a_waiting_execution_is_cancelled_and_never_runs_again(
    trial: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    """It waits for its second attempt. It ends as a failure, `on_dead` is called, its record is fenced."""
    event = SingleTrialRequested(entity="e", plan="ask", seconds=4, times=1)
    one = worker().start()
    publish(trial, [event])
    wait_for(lambda: rows(engine, "select 1 from streams.executions where status = 'retry'"), "the retry")
    assert commands.json("executions", "cancel", str(event.event_id)) == {
        "event_id": str(event.event_id),
        "cancelled": ["try-single"],
    }
    (shown,) = commands.rows("executions", "show", str(event.event_id))
    assert (shown["status"], shown["reason"], shown["error"]) == ("failure", "cancelled", "cancelled by an operator")
    who = str(shown["cancelled_by"])
    assert f": streams executions cancel {event.event_id} (role " in who
    assert [attempt.get("by") for attempt in shown["history"]][-1] == who  # type: ignore[attr-defined]  # a jsonb
    assert who in commands.run("executions", "show", str(event.event_id), "--wide").stdout.replace("\n", "")
    wait_for(lambda: "delivery was done before, nothing ran" in one.output(), "its record to die at the fence")
    assert [row["handler"] for row in rows(engine, "select handler from trials")] == ["dead: CancelledError"]
    again = commands.run("executions", "cancel", str(event.event_id))
    assert again.returncode == 1
    assert "try-single is failure" in again.stderr


@pytest.mark.requirement("Faults and operations", "cancel of a waiting execution")
def test_an_event_in_the_outbox_is_cancelled(trial: Settings, engine: Engine, commands: Commands) -> None:
    later = datetime.now(tz=UTC) + timedelta(hours=1)
    with Session(engine) as session, session.begin():
        event_id = Outbox(session, build_codec(trial, load_catalogue(trial))).publish(
            SingleTrialRequested(entity="e"), later
        )
    assert commands.run("executions", "cancel", str(event_id)).returncode == 0
    assert rows(engine, "select 1 from streams.outbox") == []
    unknown = commands.run("executions", "cancel", str(uuid4()))
    assert unknown.returncode == 1
    assert "no unsent row in the outbox" in unknown.stderr


@pytest.mark.requirement(
    "Faults and operations",
    "`streams settings`: effective values, secrets masked, unknown names refused",
)
def test_settings_show_what_is_in_force_and_no_secret(commands: Commands) -> None:
    commands.environment["STREAMS_DATABASE_URL"] = "postgresql://me:hidden@host:5432/streams"
    commands.environment["STREAMS_KAFKA_SASL_PASSWORD"] = "hidden"
    commands.environment["STREAMS_KAFKA_CONFIG"] = '{"ssl.key.password": "hidden", "linger.ms": "7"}'
    found = commands.json("settings")
    assert isinstance(found, list)
    shown = {row["setting"]: row for row in found}
    assert "hidden" not in str(found)
    assert shown["STREAMS_DATABASE_URL"]["value"] == "postgresql://me:***@host:5432/streams"
    assert shown["STREAMS_DATABASE_URL"]["source"] == "environment"
    assert shown["STREAMS_KAFKA_SASL_PASSWORD"]["value"] == "***"
    assert shown["STREAMS_KAFKA_CONFIG"]["value"] == {"ssl.key.password": "***", "linger.ms": "7"}
    assert shown["STREAMS_DRAIN_TIMEOUT"] == {
        "setting": "STREAMS_DRAIN_TIMEOUT",
        "value": 15.0,
        "source": "default",
        "description": "time limit of the drain after SIGTERM",
    }


@pytest.mark.requirement(
    "Faults and operations",
    "`streams settings`: effective values, secrets masked, unknown names refused",
)
def test_a_name_that_is_no_setting_is_refused(commands: Commands) -> None:
    commands.environment["STREAMS_DATABSE_URL"] = "postgresql://host/streams"
    done = commands.run("settings")
    assert done.returncode == 2
    assert done.stderr == "streams: STREAMS_DATABSE_URL is not a setting; did you mean STREAMS_DATABASE_URL?\n"


@pytest.mark.requirement("Faults and operations", "breakers seen from outside")
def test_breakers_are_seen_from_outside(trial: Settings, worker: MakeWorker, commands: Commands) -> None:  # noqa: ARG001 - made
    """The breakers of each worker, and those of all workers. None of a worker that has ended."""
    one = worker().start()
    wait_for(lambda: commands.rows("breakers"), "the worker to tell")
    found = commands.rows("breakers")
    assert {row["dependency"] for row in found} >= {"database", "embeddings", "kafka", "mail", "storage"}
    assert {row["state"] for row in found} == {"closed"}
    assert one.stop() == 0
    assert commands.rows("breakers") == []
