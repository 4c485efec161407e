"""The slots of a schedule: which are due, which were missed, and what becomes of them while a run goes on."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.schedules.schedule import Schedule
from streams.schedules.slots import (
    CLAIMED_AT_ONCE,
    MISSED_SHOWN,
    decide,
    due_slots,
    next_slot,
    run_status,
    slots_between,
    start_time,
    starts_now,
)

NOON = datetime(2027, 1, 15, 12, tzinfo=UTC)
DAY = 86_400.0


def nightly(cron: str = "0 2 * * *", timezone: str = "UTC", catch_up: float = 600.0) -> Schedule:
    return Schedule("nightly", "tenant.created", cron=cron, timezone=timezone, catch_up=catch_up)


def interval(every: float, catch_up: float = 600.0, jitter: float = 0.0) -> Schedule:
    return Schedule("often", "tenant.created", every=every, catch_up=catch_up, jitter=jitter)


@pytest.mark.requirement("Schedules", "a slot is a UTC instant, with the rules of cron for daylight saving time")
@pytest.mark.parametrize(
    ("cron", "after", "slots"),
    [
        # 02:30 does not exist on 28 March 2027 in Berlin: the slot comes right after the change, at 03:00 local time.
        ("30 2 * * *", "2027-03-27T12:00+00:00", ["2027-03-28T01:00+00:00", "2027-03-29T00:30+00:00"]),
        # 02:30 comes twice on 31 October 2027: one slot.
        ("30 2 * * *", "2027-10-30T12:00+00:00", ["2027-10-31T00:30+00:00", "2027-11-01T01:30+00:00"]),
        ("0 10 * * 1", "2027-03-22T12:00+00:00", ["2027-03-29T08:00+00:00", "2027-04-05T08:00+00:00"]),
    ],
)
def test_a_slot_is_an_instant_whatever_the_clocks_do(cron: str, after: str, slots: list[str]) -> None:
    schedule = nightly(cron, "Europe/Berlin")
    first = next_slot(schedule, datetime.fromisoformat(after))
    found = [first, next_slot(schedule, first)]
    assert [slot.isoformat(timespec="minutes") for slot in found] == slots
    assert all(slot.utcoffset() == timedelta(0) for slot in found)


def test_every_nth_day_begins_anew_each_month() -> None:
    """The platform's CELERY_BEAT_SCHEDULER_TIME: days 1, 1+N, … of a month."""
    days = slots_between(nightly("0 2 */10 * *"), NOON, NOON + timedelta(days=40), 10)
    assert [(slot.month, slot.day) for slot in days] == [(1, 21), (1, 31), (2, 1), (2, 11), (2, 21)]


def test_an_interval_has_the_same_slots_on_every_worker() -> None:
    assert next_slot(interval(1800), NOON + timedelta(seconds=1)) == NOON + timedelta(minutes=30)
    assert next_slot(interval(1800), NOON) == NOON + timedelta(minutes=30)


@pytest.mark.requirement("Schedules", "a late slot runs within the catch-up window; an older one is missed")
def test_late_slots_run_inside_the_window_and_are_missed_before_it() -> None:
    due = due_slots(interval(60, catch_up=300), NOON - timedelta(minutes=8), NOON)
    assert due.missed == tuple(NOON - timedelta(minutes=number) for number in (8, 7, 6))
    assert due.run == tuple(NOON - timedelta(minutes=number) for number in (5, 4, 3, 2, 1, 0))
    assert due.next == NOON + timedelta(minutes=1)


def test_a_slot_at_this_very_moment_is_due() -> None:
    assert due_slots(interval(60), NOON, NOON).run == (NOON,)
    assert due_slots(nightly("0 12 * * *", catch_up=0), NOON, NOON).run == (NOON,)


@given(
    every=st.floats(1, 10_000),
    behind=st.floats(0, 100_000),
    catch_up=st.floats(0, 100_000),
)
def test_no_slot_is_passed_over(every: float, behind: float, catch_up: float) -> None:
    """From the first slot to the next one, each is due or missed, once; only the oldest missed ones are left out."""
    schedule = interval(every, catch_up)
    first = next_slot(schedule, NOON - timedelta(seconds=behind))
    due = due_slots(schedule, first, NOON)
    found = [*due.missed, *due.run]
    assert found == sorted(set(found))
    expected = slots_between(schedule, first, due.next, 200_000)[:-1]
    assert found == expected[len(expected) - len(found) :]
    assert len(due.missed) == min(MISSED_SHOWN, len(expected) - len(due.run))
    assert due.next > NOON or len(due.run) == CLAIMED_AT_ONCE
    assert all(NOON - slot <= timedelta(seconds=catch_up) for slot in due.run)


@given(parts=st.lists(st.floats(0, 5_000), min_size=1, max_size=6))
def test_slots_do_not_depend_on_when_they_are_looked_for(parts: list[float]) -> None:
    """Whether one worker looks once or several look at any times: the same slots, each once."""
    schedule = nightly("*/7 * * * *", catch_up=DAY)
    first = next_slot(schedule, NOON)
    claimed: list[datetime] = []
    at, upcoming = NOON, first
    for part in parts:
        at += timedelta(seconds=part)
        if upcoming <= at:
            due = due_slots(schedule, upcoming, at)
            claimed += due.run
            upcoming = due.next
    assert claimed == (list(due_slots(schedule, first, at).run) if first <= at else [])


LINES = ("30 2 * * *", "0,30 2 * * *", "0 2-4 * * *", "45 1 * * *", "30 23 * * *", "*/20 * * * *", "30 2 31 10 *")
CHANGES = (
    ("Europe/Berlin", datetime(2027, 3, 28, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2027, 10, 31, 1, tzinfo=UTC)),
    ("America/Santiago", datetime(2027, 4, 4, 3, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 4, 3, 15, tzinfo=UTC)),
)


@pytest.mark.requirement("Schedules", "a slot is a UTC instant, with the rules of cron for daylight saving time")
@given(
    line=st.sampled_from(LINES),
    change=st.sampled_from(CHANGES),
    looked=st.integers(-300, 300),
    behind=st.integers(0, 3_000),
    catch_up=st.integers(0, 600),
)
@example("30 2 * * *", CHANGES[1], 5, 0, 300)
@example("30 2 * * *", CHANGES[1], 15, 600, 5)
def test_a_look_while_the_clocks_change_finds_the_same_slots(
    line: str, change: tuple[str, datetime], looked: int, behind: int, catch_up: int
) -> None:
    """The slots are those of a look days before. None lies in the past of the next look, none is left out.

    Args:
        line: The cron line.
        change: The zone, and when its clocks change.
        looked: When slots are looked for, in minutes after the change.
        behind: How many minutes before that the first unclaimed slot may be.
        catch_up: The window, in minutes.
    """
    zone, changes_at = change
    schedule = nightly(line, zone, catch_up * 60.0)
    all_slots = slots_between(schedule, changes_at - timedelta(days=4), changes_at + timedelta(days=400), 2_000)
    now = changes_at + timedelta(minutes=looked)
    assert next_slot(schedule, now) == next(slot for slot in all_slots if slot > now)
    first = next_slot(schedule, now - timedelta(minutes=behind))
    due = due_slots(schedule, first, now)
    expected = [slot for slot in all_slots if first <= slot <= now]
    oldest = now - timedelta(minutes=catch_up)
    assert due.run == tuple(slot for slot in expected if slot >= oldest)
    assert due.missed == tuple(slot for slot in expected if slot < oldest)[-MISSED_SHOWN:]


@pytest.mark.parametrize(
    ("overlap", "running", "waiting", "decision"),
    [
        ("skip", 0, 0, "run"), ("skip", 1, 0, "skip"), ("skip", 0, 1, "skip"),
        ("queue", 0, 0, "run"), ("queue", 1, 0, "wait"), ("queue", 1, 1, "skip"), ("queue", 0, 1, "skip"),
        ("allow", 0, 0, "run"), ("allow", 9, 0, "run"), ("allow", 9, 9, "run"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_slot_while_a_run_goes_on(overlap: str, running: int, waiting: int, decision: str) -> None:
    assert decide(overlap, running=running, waiting=waiting) == decision  # type: ignore[arg-type]  # names of the table


def test_slots_that_wait_begin_one_after_another_unless_they_may_overlap() -> None:
    assert [starts_now("skip", running=running, waiting=3) for running in (0, 1)] == [1, 0]
    assert [starts_now("queue", running=running, waiting=0) for running in (0, 1)] == [0, 0]
    assert [starts_now("allow", running=running, waiting=3) for running in (0, 1)] == [3, 3]


@given(seconds=st.floats(0, 100_000), number=st.integers(0, 1000))
def test_the_jitter_of_a_slot_is_always_the_same_and_bounded(seconds: float, number: int) -> None:
    schedule = interval(60, jitter=seconds)
    slot = NOON + timedelta(minutes=number)
    begins = start_time(schedule, slot)
    assert begins == start_time(schedule, slot)
    assert slot <= begins <= slot + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("executions", "status"),
    [
        ({}, "pending"),
        ({"a": "started"}, "started"),
        ({"a": "success"}, "started"),
        ({"a": "success", "b": "retry"}, "retry"),
        ({"a": "failure", "b": "retry"}, "retry"),
        ({"a": "success", "b": "success"}, "success"),
        ({"a": "success", "b": "failure"}, "failure"),
        ({"a": "success", "b": "success", "former": "failure"}, "success"),
    ],
)
def test_a_run_ends_with_the_last_of_its_handlers(executions: dict[str, str], status: str) -> None:
    assert run_status(("a", "b"), executions) == status


def test_a_run_without_a_handler_does_not_succeed() -> None:
    assert run_status((), {"former": "success"}) == "pending"
