"""A worker's timer: slots run within a second of their time, and changes hold at once."""

from collections.abc import Callable, Iterator

import pytest

from tests.integration.conftest import Stack, own_environment
from tests.support.apps.scheduled_trials import TOPIC
from tests.support.processes.worker_process import rows, scalar, wait_for
from tests.support.trial_fixtures import TrialRun, trials_running

SECTION = "Schedules"
ADD = ("schedules", "add")
EVENT = ("--event", TOPIC, "--args", '{"entity": "e"}')


@pytest.fixture(scope="module")
def run(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialRun]:
    """One worker for all tests of this file."""
    folder = tmp_path_factory.mktemp("clock")
    with own_environment(stack, template, folder) as environment, trials_running(environment, folder) as running:
        yield running


def successes(run: TrialRun, name: str) -> Callable[[], int]:
    statement = "select count(*) from streams.slots where schedule = :name and status = 'success'"
    return lambda: int(str(scalar(run.engine, statement, name=name)))


@pytest.mark.requirement(SECTION, "a slot fires within 1 s of its time on an idle system")
def test_slots_fire_within_a_second(run: TrialRun) -> None:
    """A schedule that is added while the worker runs: five slots in a row, each with one effect."""
    run.streams.json(*ADD, "each-second", *EVENT, "--every", "1s", "--overlap", "allow")
    wait_for(lambda: successes(run, "each-second")() >= 5, "five slots")
    run.streams.json("schedules", "pause", "each-second")
    wait_for(lambda: "pending" not in {row["status"] for row in history(run, "each-second")}, "the last run to end")
    found = rows(
        run.engine,
        "select slot, event_id, extract(epoch from claimed_at - slot) as late, "
        "(select count(*) from trials t where t.event_id = s.event_id) as effects, "
        "extract(epoch from (select min(at) from trials t where t.event_id = s.event_id) - slot) as done "
        "from streams.slots s where schedule = 'each-second' order by slot",
    )
    assert [row["effects"] for row in found] == [1] * len(found)
    assert max(float(str(row["late"])) for row in found) <= 1.0
    assert {float(str(row["late"])) >= 0 for row in found} == {True}
    ends = {(float(str(row["done"]))) < 3 for row in found}
    assert ends == {True}, "the effect follows at once"


def history(run: TrialRun, name: str) -> list[dict[str, object]]:
    return run.streams.rows("schedules", "history", name)


@pytest.mark.requirement(SECTION, "a failed run is a dead letter and a failure in the history, and the next slot runs")
def test_a_failed_run_is_in_the_history(run: TrialRun) -> None:
    arguments = ("--event", TOPIC, "--args", '{"entity": "f", "plan": "permanent"}', "--every", "1h")
    run.streams.json(*ADD, "failing", *arguments)
    run.streams.json("schedules", "trigger", "failing")
    wait_for(lambda: history(run, "failing") and history(run, "failing")[0]["status"] == "failure", "the failure")
    (row,) = history(run, "failing")
    assert row["kind"] == "trigger"
    assert row["completed_at"]
    assert "try-single" in str(row["detail"])
    (letter,) = run.streams.rows("dlq", "list", "--event", str(row["event_id"]))
    assert letter["reason"] == "permanent"
    run.streams.json("schedules", "trigger", "failing")
    wait_for(lambda: len(history(run, "failing")) == 2, "the next slot")


@pytest.mark.requirement(SECTION, "a worker registers the schedules of the code at its start")
def test_the_default_schedules_are_there(run: TrialRun) -> None:
    found = {str(row["name"]): row for row in run.streams.rows("schedules", "list")}
    assert {"clean-messages", "queue-monitor", "check-upgradable-plugin"} <= set(found)
    assert not found["clean-messages"]["enabled"]
    assert found["clean-messages"]["origin"] == "code"
    assert "is off" in run.streams.run("schedules", "trigger", "clean-messages").stderr


@pytest.mark.requirement(SECTION, "changes hold on all workers within 5 s")
def test_a_change_holds_at_once(run: TrialRun) -> None:
    run.streams.json(*ADD, "changing", *EVENT, "--every", "300d")
    run.streams.json(*ADD, "changing", *EVENT, "--every", "1s", "--overlap", "allow", "--replace")
    wait_for(lambda: successes(run, "changing")() >= 1, "the first slot", 5)
    run.streams.json("schedules", "remove", "changing")
    seen = scalar(run.engine, "select max(slot) from streams.slots where schedule = 'changing'")
    run.streams.json(*ADD, "changing", *EVENT, "--every", "300d")
    wait_for(lambda: all(row["status"] == "success" for row in history(run, "changing")), "its runs")
    assert scalar(run.engine, "select max(slot) from streams.slots where schedule = 'changing'") == seen
