"""The clock claims the slots that are due, each once, whatever the policy, the row or the number of clocks."""

import asyncio

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from structlog.testing import capture_logs

from schemas.event import new_event_id
from streams.observability.metrics import REGISTRY
from streams.schedules.registration import register_schedules
from streams.schedules.steps import FOLLOW
from streams.settings import Settings
from tests.support.apps.scheduled_trials import (
    HOUR,
    TOPIC,
    end_run,
    often,
    open_clock,
    replay_letter_of,
    set_next_slot,
    statuses,
)
from tests.support.processes.worker_process import rows, scalar
from tests.support.trial_fixtures import environment

__all__ = ["environment"]
SECTION = "Schedules"


async def registered(database: AsyncEngine, engine: Engine, seconds_ago: float, **fields: object) -> None:
    """Register the hourly schedule with slots that are due since a time."""
    await register_schedules(database, [often(**fields)])
    set_next_slot(engine, "often", seconds_ago)


def counts() -> dict[str, float]:
    """Return the counters of slots of the hourly schedule."""
    names = {
        "late": ("streams_schedule_slots_late_total", {}),
        "overlapping": ("streams_schedule_slots_overlapping_total", {}),
        "skipped": ("streams_schedule_slots_total", {"status": "skipped"}),
    }
    return {
        key: REGISTRY.get_sample_value(name, {"schedule": "often", **labels}) or 0.0
        for key, (name, labels) in names.items()
    }


@pytest.mark.requirement(SECTION, "a slot is claimed by a unique row in the transaction that writes its event")
async def test_two_clocks_claim_each_slot_once(settings: Settings, engine: Engine) -> None:
    """Eight looks at the same time: three slots, three events, and the next slot is in the future."""
    async with open_clock(settings, "one") as (one, database), open_clock(settings, "two") as (two, _):
        await registered(database, engine, 2 * HOUR, catch_up=9 * HOUR, overlap="allow")
        await asyncio.gather(*(clock.tick() for clock in (one, two) * 4))
        found = rows(engine, "select slot, event_id, claimed_by from streams.slots where event_id is not null")
        assert len(found) == 3
        events = rows(engine, "select event_id from streams.outbox")
        assert {row["event_id"] for row in events} == {row["event_id"] for row in found}
        assert len(events) == 3
        assert {row["claimed_by"] for row in found} <= {"one", "two"}
        assert scalar(engine, "select next_slot > clock_timestamp() from streams.schedules")
        await one.tick()
        assert scalar(engine, "select count(*) from streams.slots") == 3


@pytest.mark.requirement(SECTION, "a late slot runs within the catch-up window; an older one is missed")
async def test_older_slots_than_the_window_are_missed(settings: Settings, engine: Engine) -> None:
    async with open_clock(settings) as (clock, database):
        await registered(database, engine, 4 * HOUR, catch_up=2 * HOUR, overlap="allow")
        await clock.tick()
        assert [status for _, status in statuses(engine)] == ["missed"] * 3 + ["pending"] * 2
        assert scalar(engine, "select count(*) from streams.outbox") == 2


@pytest.mark.requirement(SECTION, "overlap: skip, queue one, allow")
@pytest.mark.parametrize(
    ("overlap", "before", "after"),
    [
        ("skip", ["pending", "skipped", "skipped"], ["success", "skipped", "skipped"]),
        ("queue", ["pending", "pending", "skipped"], ["success", "pending", "skipped"]),
        ("allow", ["pending", "pending", "pending"], ["success", "pending", "pending"]),
    ],
)
async def test_slots_while_a_run_goes_on(
    settings: Settings, engine: Engine, overlap: str, before: list[str], after: list[str]
) -> None:
    """When the run ends, the slot that waits is started. Late starts and overlaps are on metrics, after the commit."""
    published = {"skip": (1, 1), "queue": (1, 2), "allow": (3, 3)}[overlap]
    counted = counts()
    async with open_clock(settings) as (clock, database):
        await registered(database, engine, 2 * HOUR, catch_up=9 * HOUR, overlap=overlap)
        await clock.tick()
        assert [status for _, status in statuses(engine)] == before
        assert scalar(engine, "select count(*) from streams.outbox") == published[0]
        first = rows(engine, "select min(slot) as slot from streams.slots")[0]["slot"]
        end_run(engine, first)  # type: ignore[arg-type]  # a column of times
        await clock.tick()
        assert [status for _, status in statuses(engine)] == after
        assert scalar(engine, "select count(*) from streams.outbox") == published[1]
        (row,) = rows(engine, "select started_at, completed_at from streams.slots where slot = :slot", slot=first)
        assert row["started_at"] is not None
        assert row["completed_at"] is not None
    started_late = (
        "select count(*) from streams.slots where event_id is not null and claimed_at > slot + interval '5 s'"
    )
    expected = {"late": scalar(engine, started_late), "overlapping": 2, "skipped": after.count("skipped")}
    assert {name: value - counted[name] for name, value in counts().items()} == expected
    assert expected["late"] == published[1]


@pytest.mark.requirement(SECTION, "a run that dies frees its schedule")
async def test_a_run_that_fails_frees_its_schedule(settings: Settings, engine: Engine) -> None:
    async with open_clock(settings) as (clock, database):
        await registered(database, engine, 0)
        await clock.tick()
        slot = rows(engine, "select slot from streams.slots")[0]["slot"]
        end_run(engine, slot, "failure")  # type: ignore[arg-type]  # a column of times
        await clock.tick()
        assert statuses(engine) == [("timer", "failure")]
        assert rows(engine, "select detail from streams.slots")[0]["detail"] == "try-single: it broke"


@pytest.mark.requirement(SECTION, "a run whose dead letter is replayed gets the outcome of the replay")
async def test_a_replayed_run_goes_on(settings: Settings, engine: Engine) -> None:
    async with open_clock(settings) as (clock, database):
        await registered(database, engine, 0)
        await clock.tick()
        (slot,) = rows(engine, "select slot, event_id from streams.slots")
        end_run(engine, slot["slot"], "failure")  # type: ignore[arg-type]  # a column of times
        await clock.tick()
        assert statuses(engine) == [("timer", "failure")]
        replay_letter_of(settings, engine, slot["event_id"])  # type: ignore[arg-type]  # a column of ids
        assert statuses(engine) == [("timer", "retry")]
        await clock.tick()
        assert statuses(engine) == [("timer", "retry")]
        with engine.begin() as connection:
            connection.execute(text("update streams.executions set status = 'success', completed_at = now()"))
        await clock.tick()
        (row,) = rows(engine, "select status, detail, completed_at is not null as ended from streams.slots")
        assert row == {"status": "success", "detail": None, "ended": True}


@pytest.mark.requirement(SECTION, "a run lasts until the last of its steps, whose events follow each other")
async def test_a_run_ends_with_its_last_step(settings: Settings, engine: Engine) -> None:
    """The first step succeeds and publishes the next one in its transaction: the slot follows that event."""
    async with open_clock(settings) as (clock, database):
        await registered(database, engine, 0)
        await clock.tick()
        first = rows(engine, "select slot, event_id from streams.slots")[0]
        following = new_event_id()
        end_run(engine, first["slot"])  # type: ignore[arg-type]  # a column of times
        async with AsyncSession(database) as session, session.begin():
            await session.execute(FOLLOW, {"event": first["event_id"], "following": following})
        await clock.tick()
        assert statuses(engine) == [("timer", "started")]
        end_run(engine, first["slot"])  # type: ignore[arg-type]  # a column of times
        await clock.tick()
        assert statuses(engine) == [("timer", "success")]


@pytest.mark.requirement(SECTION, "a run that can never be handled any more ends as a failure")
async def test_a_run_without_any_execution_ends_after_its_topics_retention(settings: Settings, engine: Engine) -> None:
    async with open_clock(settings) as (clock, database):
        await registered(database, engine, 0)
        await clock.tick()
        old = new_event_id(1_700_000_000_000)
        with engine.begin() as connection:
            connection.execute(text("update streams.slots set event_id = :old"), {"old": old})
        await clock.tick()
        assert statuses(engine) == [("timer", "failure")]


async def test_an_older_worker_does_not_end_a_newer_one_s_run(settings: Settings, engine: Engine) -> None:
    """It does not know the topic of the slot's event, whose execution begins later. The retention ends the run."""
    async with open_clock(settings) as (clock, database):
        await registered(database, engine, 0)
        await clock.tick()
        with engine.begin() as connection:
            connection.execute(text("update streams.slots set topic = 'of.later-version'"))
        await clock.tick()
        assert statuses(engine) == [("timer", "pending")]
        with engine.begin() as connection:
            old = {"old": new_event_id(1_700_000_000_000)}
            connection.execute(text("update streams.slots set event_id = :old"), old)
        await clock.tick()
        assert statuses(engine) == [("timer", "failure")]


@pytest.mark.requirement(SECTION, "a row that was broken by hand disables that schedule alone, loudly")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("cron = 'garbage', every = null", "cron: "),
        ("cron = '* * * * *', every = null, timezone = 'Mars/Olympus'", "timezone: "),
        ("args = '[1]'", "args: "),
        ("""args = '{"entity": 7}'""", "args.entity: "),
        ("topic = 'no.such'", "event: "),
        ("topic = 'tenant.created'", "event: "),
        ("every = 'infinity'", "every: "),
        ("catch_up = 'nan'", "catch_up: "),
    ],
)
async def test_a_broken_row_stops_itself_alone(settings: Settings, engine: Engine, change: str, error: str) -> None:
    """Its error is in its row and in the log. After the correction it goes on with its next slot."""
    async with open_clock(settings) as (clock, database):
        await register_schedules(database, [often(), often(name="other")])
        set_next_slot(engine, "often", 0)
        set_next_slot(engine, "other", 0)
        with engine.begin() as connection:
            before = connection.execute(text("select * from streams.schedules where name = 'often'")).mappings().one()
            connection.execute(text(f"update streams.schedules set {change} where name = 'often'"))
        with capture_logs() as logs:
            await clock.tick()
            await clock.tick()
        assert [line["log_level"] for line in logs if "cannot run" in line["event"]] == ["error"], "once a minute"
        assert statuses(engine, "other") == [("timer", "pending")]
        assert statuses(engine) == []
        assert str(rows(engine, "select error from streams.schedules where name = 'often'")[0]["error"]).startswith(
            error
        )
        with engine.begin() as connection:
            connection.execute(
                text(
                    "update streams.schedules set cron = :cron, every = :every, timezone = :timezone, topic = :topic, "
                    'args = \'{"entity": "e"}\', catch_up = :catch_up, next_slot = clock_timestamp() '
                    "where name = 'often'"
                ),
                dict(before),
            )
        await clock.tick()
        (row,) = rows(
            engine, "select error, next_slot > clock_timestamp() as later from streams.schedules where name = 'often'"
        )
        assert row == {"error": None, "later": True}


@pytest.mark.requirement(SECTION, "a slot that came due while a row was not understood still runs")
async def test_slots_after_an_error_are_late(settings: Settings, engine: Engine) -> None:
    """A worker of an older version, which does not know an event, is no reason to lose a slot."""
    async with open_clock(settings) as (clock, database):
        await registered(database, engine, 2 * HOUR, catch_up=2 * HOUR, overlap="allow")
        await clock.tick()
        before = statuses(engine)
        slot = set_next_slot(engine, "often", 0)
        with engine.begin() as connection:
            connection.execute(text("delete from streams.slots where slot = :slot"), {"slot": slot})
            connection.execute(text("update streams.schedules set topic = 'of.later-version'"))
        await clock.tick()
        assert statuses(engine) == before[:-1]
        with engine.begin() as connection:
            connection.execute(text("update streams.schedules set topic = :topic, next_slot = now()"), {"topic": TOPIC})
        await clock.tick()
        assert statuses(engine) == before
        (row,) = rows(engine, "select error, next_slot > clock_timestamp() as later from streams.schedules")
        assert row == {"error": None, "later": True}


async def test_a_broken_row_that_is_resumed_says_what_is_wrong(settings: Settings, engine: Engine) -> None:
    """Then its next slot is not known."""
    async with open_clock(settings) as (clock, database):
        await registered(database, engine, 0)
        broken = "update streams.schedules set topic = 'no.such', next_slot = null, error = 'event: as before'"
        with engine.begin() as connection:
            connection.execute(text(broken))
        await clock.tick()
        (row,) = rows(engine, "select error from streams.schedules")
        assert str(row["error"]).startswith("event: ")
        assert "no.such" in str(row["error"])


@pytest.mark.requirement(SECTION, "jitter: a run begins between its slot and so much later")
async def test_a_run_with_jitter_waits_in_the_outbox(settings: Settings, engine: Engine) -> None:
    """The last slot is half an hour ago, and the jitter is ten days: the event waits."""
    async with open_clock(settings) as (clock, database):
        await registered(database, engine, 0, jitter=864_000.0)
        await clock.tick()
        (row,) = rows(
            engine,
            "select o.due_at > s.slot as after, o.due_at <= s.slot + interval '10 days' as bounded, "
            "o.due_at is not null as waits from streams.slots s join streams.outbox o using (event_id)",
        )
        assert row == {"after": True, "bounded": True, "waits": True}
        assert statuses(engine) == [("timer", "pending")]


@pytest.mark.requirement(SECTION, "no exception in a timer ends a worker")
async def test_a_database_that_is_away_ends_nothing(settings: Settings) -> None:
    """Faust ends a worker with an exception of a timer."""
    away = settings.model_copy(update={"database_url": type(settings.database_url)("postgresql://x@127.0.0.1:1/x")})
    async with open_clock(away) as (clock, _):
        await clock.tick()


@pytest.mark.requirement(SECTION, "no exception in a timer ends a worker")
async def test_an_event_that_cannot_be_encoded_stops_its_schedule_alone(settings: Settings, engine: Engine) -> None:
    """It is larger than any event may be, which shows only when it is encoded."""
    small = settings.model_copy(update={"claim_check_max_bytes": 1_048_576})
    async with open_clock(small) as (clock, database):
        await register_schedules(database, [often(args={"entity": "x" * 2_000_000}), often(name="other")])
        set_next_slot(engine, "often", 0)
        set_next_slot(engine, "other", 0)
        await clock.tick()
        assert statuses(engine, "other") == [("timer", "pending")]
        assert statuses(engine) == []
        (row,) = rows(engine, "select error from streams.schedules where name = 'often'")
        assert row["error"], "what was wrong is in the row"
