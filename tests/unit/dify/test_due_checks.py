"""When the daily check of a tenant's plugins is due, whatever the time of the run."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.plugins.due_checks import Period, is_due, latest_time

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
TODAY, YESTERDAY = date(2026, 3, 10), date(2026, 3, 9)
HOUR = 3600
SECTION = "Schedules"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (12 * HOUR, NOON),
        (12 * HOUR + 1, NOON + timedelta(seconds=1, days=-1)),
        (0, NOON - timedelta(hours=12)),
        (86_400, NOON - timedelta(hours=12)),
        (-HOUR, NOON - timedelta(hours=13)),
    ],
)
def test_the_last_time_of_the_day(seconds: int, expected: datetime) -> None:
    """Seconds beyond a day count modulo a day. The clock of the database may be in any time zone."""
    assert latest_time(seconds, NOON) == expected
    assert latest_time(seconds, NOON.astimezone(timezone(timedelta(hours=9)))) == expected


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: the first run does not check the tenants of the whole day")
@pytest.mark.parametrize(
    ("seconds", "due"),
    [
        (12 * HOUR, True),
        (12 * HOUR - 899, True),
        (12 * HOUR - 900, False),  # the time at which the period before ended
        (8 * HOUR, False),
        (12 * HOUR + 1, False),
    ],
)
def test_a_tenant_that_was_never_checked(seconds: int, due: bool) -> None:  # noqa: FBT001 - an expectation
    assert is_due(seconds, None, Period(NOON - timedelta(minutes=15), NOON)) is due


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: no tenant is skipped when a run is late")
@pytest.mark.parametrize("late", [timedelta(minutes=16), timedelta(hours=3), timedelta(hours=23)])
def test_a_late_run_checks_whom_it_has_missed(late: timedelta) -> None:
    """A tenant with a mark and one without one, whose time came just after the run before."""
    period = Period(NOON - late, NOON)
    time_of_day = int((NOON - late + timedelta(seconds=1)).timestamp()) % 86_400
    assert is_due(time_of_day, None, period)
    assert is_due(time_of_day, (NOON - late - timedelta(days=1)).date(), period)


@pytest.mark.requirement(SECTION, "check-upgradable-plugin: no tenant is checked twice a day, also if its time changes")
def test_one_check_a_day() -> None:
    period = Period(NOON - timedelta(minutes=15), NOON)
    assert not is_due(12 * HOUR - 60, TODAY, period)
    # At 8 the tenant was checked, and then it has set its time to 11:59.
    assert not is_due(12 * HOUR - 60, TODAY, Period(NOON - timedelta(hours=5), NOON))
    assert is_due(12 * HOUR - 60, YESTERDAY, period)


@given(
    seconds=st.integers(0, 86_399),
    pauses=st.lists(st.integers(1, 20 * HOUR), min_size=1, max_size=40),
    start=st.integers(0, 86_399),
)
def test_runs_at_any_times_check_each_day_once(seconds: int, pauses: list[int], start: int) -> None:
    """Each day whose time lies in the period of a run is checked, unless the run of a later day makes up for it."""
    until = datetime(2026, 3, 10, tzinfo=UTC) + timedelta(seconds=start)
    checked: list[date] = []
    begin = since = until
    for pause in pauses:
        since, until = until, until + timedelta(seconds=pause)
        if is_due(seconds, checked[-1] if checked else None, Period(since, until)):
            checked.append(latest_time(seconds, until).date())
    days = [begin.date() + timedelta(days=day) for day in range((until - begin).days + 2)]
    came = [
        day
        for day in days
        if begin < datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=seconds) <= until
    ]
    assert checked == came
