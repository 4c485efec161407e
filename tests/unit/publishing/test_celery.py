"""The times in Celery's options, whatever a caller gives."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.publishing import BridgeError
from streams.publishing.bridges.celery import _to_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = st.sampled_from([None, UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.timedeltas(),
    st.dates(),
    st.lists(st.integers()),
    st.datetimes(timezones=ZONES),
)


@pytest.mark.requirement("Faults of others", "c15: an odd countdown, eta or expires is one error that names the option")
@given(st.sampled_from(["countdown", "eta", "expires"]), VALUES)
@example("countdown", float("inf"))
@example("countdown", float("nan"))
@example("countdown", 1e12)
@example("expires", 10**400)
@example("countdown", timedelta(minutes=1))
@example("eta", date(2026, 1, 1))
@example("eta", datetime.min.replace(tzinfo=timezone(timedelta(hours=14))))
@example("expires", datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))))
def test_any_value_is_a_time_in_utc_or_an_error_that_names_the_option(option: str, given_value: object) -> None:
    error: BridgeError | None = None
    try:
        at = _to_time("a_task", option, given_value, NOW)
    except BridgeError as raised:
        error = raised
    if error is not None:
        assert str(error).startswith(f"a_task: {option} is ")
        assert "\n" not in str(error)
    else:
        assert at is None or at.utcoffset() == timedelta(0)
        assert (at is None) == (given_value is None)
