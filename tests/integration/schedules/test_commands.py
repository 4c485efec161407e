"""`streams schedules`: what operators change holds at once on all workers, and after their next start."""

from datetime import datetime

import pytest
from sqlalchemy import Engine

from streams.schedules.registration import register_schedules
from streams.schedules.schedule import Schedule
from streams.settings import Settings
from tests.support.apps.scheduled_trials import HOUR, TOPIC, end_run, often, open_clock, set_next_slot, statuses
from tests.support.cli import Commands
from tests.support.processes.worker_process import rows, scalar
from tests.support.trial_fixtures import environment

__all__ = ["environment"]
SECTION = "Schedules"
ADD = ("add", "mine", "--event", TOPIC, "--args", '{"entity": "e"}')


@pytest.mark.requirement(SECTION, "list --json and history --json have the fields of the contract")
async def test_a_schedule_from_add_to_remove(settings: Settings, engine: Engine, commands: Commands) -> None:
    def schedules(*arguments: str) -> object:
        return commands.json("schedules", *arguments)

    assert schedules(*ADD, "--cron", "0 6 * * 1", "--timezone", "Europe/Berlin", "--overlap", "queue") == {
        "name": "mine",
        "added": True,
    }
    (row,) = commands.rows("schedules", "list")
    assert {**row, "next_slot": None} | {"changed_by": None} == {
        "name": "mine", "event": TOPIC, "cron": "0 6 * * 1", "every": None, "timezone": "Europe/Berlin",
        "enabled": True, "paused": False, "overlap": "queue", "catch_up": 600.0, "jitter": 0.0, "next_slot": None,
        "last_slot": None, "last_status": None, "args": {"entity": "e"}, "origin": "operator", "changed_by": None,
        "error": None,
    }  # fmt: skip
    assert datetime.fromisoformat(str(row["next_slot"])).weekday() == 0
    assert "streams schedules add mine" in str(row["changed_by"])
    assert "there is a schedule mine already" in commands.run("schedules", *ADD, "--every", "1h").stderr
    assert schedules(*ADD, "--every", "1h", "--catch-up", "2h", "--replace")

    async with open_clock(settings) as (clock, _):
        await clock.tick()
        slot = set_next_slot(engine, "mine", 0)
        await clock.tick()
        end_run(engine, slot)
        await clock.tick()
    (done,) = commands.rows("schedules", "history", "mine")
    assert datetime.fromisoformat(str(done["slot"])) == slot
    assert (done["status"], done["claimed_by"]) == ("success", "a-worker")
    assert done["started_at"]
    assert done["completed_at"]
    (row,) = commands.rows("schedules", "list")
    assert row["last_status"] == "success"
    assert "mine" in commands.run("schedules", "list").stdout
    assert "timezone: UTC" in commands.run("schedules", "show", "mine").stdout
    assert schedules("remove", "mine") == {"name": "mine", "removed": True}
    assert commands.rows("schedules", "list") == []
    assert len(commands.rows("schedules", "history", "mine")) == 1
    assert "no schedule 'mine'" in commands.run("schedules", "show", "mine").stderr


@pytest.mark.requirement(SECTION, "what an operator changed is not overwritten by the next start")
async def test_the_next_start_changes_only_what_operators_left_alone(settings: Settings, commands: Commands) -> None:
    """A default that was removed stays removed, a changed one stays changed, a pause stays. Code changes the rest."""
    defaults = [Schedule(name, TOPIC, {"entity": "e"}, every=3600.0) for name in ("gone", "changed", "paused", "plain")]
    later = [Schedule(one.name, TOPIC, {"entity": "new"}, every=7200.0) for one in defaults]
    async with open_clock(settings) as (_, database):
        await register_schedules(database, defaults)
        commands.json("schedules", "remove", "gone")
        commands.json(
            "schedules", "add", "changed", "--event", TOPIC, "--args", '{"entity": "e"}', "--every", "1m", "--replace"
        )
        commands.json("schedules", "pause", "paused")
        await register_schedules(database, later)
        await register_schedules(database, later)
    found = {str(row["name"]): (row["every"], row["paused"]) for row in commands.rows("schedules", "list")}
    assert found == {"changed": (60.0, False), "paused": (7200.0, True), "plain": (7200.0, False)}


@pytest.mark.requirement(SECTION, "a schedule that was off or paused has no late slots")
async def test_a_pause_has_no_late_slots(settings: Settings, engine: Engine, commands: Commands) -> None:
    async with open_clock(settings) as (clock, database):
        await register_schedules(database, [often(catch_up=9000.0)])
        set_next_slot(engine, "often", 7000)
        assert commands.json("schedules", "pause", "often") == {"name": "often", "paused": True}
        assert "was already paused" in commands.run("schedules", "pause", "often").stdout
        await clock.tick()
        assert "is paused" in commands.run("schedules", "trigger", "often").stderr
        assert commands.json("schedules", "resume", "often") == {"name": "often", "paused": False}
        await clock.tick()
        assert statuses(engine) == []
        set_next_slot(engine, "often", 7000)
        await register_schedules(database, [often(catch_up=9000.0, enabled=False)])
        await clock.tick()
        await register_schedules(database, [often(catch_up=9000.0)])
        await clock.tick()
        assert statuses(engine) == []
        assert scalar(engine, "select next_slot > clock_timestamp() from streams.schedules")


@pytest.mark.requirement(SECTION, "trigger runs a schedule at once, one run after the other")
async def test_a_trigger_runs_at_once_and_waits_for_a_run(
    settings: Settings, engine: Engine, commands: Commands
) -> None:
    async with open_clock(settings) as (clock, database):
        await register_schedules(database, [often()])
        commands.json("schedules", "trigger", "often")
        await clock.tick()
        assert scalar(engine, "select count(*) from streams.outbox") == 1
        commands.json("schedules", "trigger", "often")
        refused = commands.run("schedules", "trigger", "often")
        assert (refused.returncode, "waits already" in refused.stderr) == (2, True)
        await clock.tick()
        assert scalar(engine, "select count(*) from streams.outbox") == 1
        first = rows(engine, "select min(slot) as slot from streams.slots")[0]["slot"]
        end_run(engine, first)  # type: ignore[arg-type]  # a column of times
        await clock.tick()
        assert statuses(engine) == [("trigger", "success"), ("trigger", "pending")]
        assert scalar(engine, "select count(*) from streams.outbox") == 2


@pytest.mark.requirement(SECTION, "backfill runs past slots that never ran, and no slot twice")
async def test_a_backfill_runs_what_never_ran(settings: Settings, engine: Engine, commands: Commands) -> None:
    """Two slots were missed, one runs already."""
    async with open_clock(settings) as (clock, database):
        await register_schedules(database, [often(catch_up=HOUR)])
        first = set_next_slot(engine, "often", 7200)
        await clock.tick()
        assert [status for _, status in statuses(engine)] == ["missed", "missed", "pending"]
        now = str(scalar(engine, "select clock_timestamp()"))
        added = commands.json("schedules", "backfill", "often", "--from", first.isoformat(), "--to", now)
        assert isinstance(added, dict)
        assert len(added["slots"]) == 2
        for _ in range(3):
            await clock.tick()
            for row in rows(engine, "select slot from streams.slots where status = 'pending' and event_id is not null"):
                end_run(engine, row["slot"])  # type: ignore[arg-type]  # a column of times
        await clock.tick()
        assert [status for _, status in statuses(engine)] == ["success"] * 3
        assert scalar(engine, "select count(*) from streams.outbox") == 3


@pytest.mark.requirement(SECTION, "bad input is refused with one line that names the field")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((*ADD, "--cron", "61 * * * *"), "cron: "),
        ((*ADD, "--cron", "0 2 * * *", "--every", "1h"), "cron: "),
        (ADD, "cron: "),
        ((*ADD, "--every", "1 week"), "every: "),
        ((*ADD, "--cron", "0 2 * * *", "--timezone", "Nowhere"), "timezone: "),
        (("add", "mine", "--event", "no.such", "--every", "1h"), "event: "),
        (("add", "mine", "--event", "tenant.created", "--every", "1h"), "event: "),
        (("add", "mine", "--event", TOPIC, "--every", "1h", "--args", "{"), "args: "),
        (("add", "mine", "--event", TOPIC, "--every", "1h", "--args", '{"entty": 1}'), "args.entty: "),
        (("trigger", "no-such"), "name: no schedule"),
        (("history", "no-such"), "no schedule"),
        (("backfill", "no-such", "--from", "2027-01-01", "--to", "2027-01-02"), "offset"),
    ],
)
def test_bad_input_is_one_line(
    settings: Settings,  # noqa: ARG001 - the test's database
    commands: Commands,
    arguments: tuple[str, ...],
    text: str,
) -> None:
    done = commands.run("schedules", *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert commands.rows("schedules", "list") == []
