"""Expired deliveries are found by their header."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import headers
from streams.delivery.admission.expiry import expired
from streams.delivery.delivery import Delivery
from tests.support.factories import a_delivery

SECONDS = st.integers(0, 4_000_000_000)


def expiring(value: bytes | None) -> Delivery:
    own = (("ce_id", b"1"), ("traceparent", b"00"))
    return a_delivery(headers=own if value is None else (*own, (headers.CE_EXPIRYTIME, value)))


@pytest.mark.requirement(
    "Events for later",
    "`expires_at`: not attempted, `failure`, reason `expired`; first deliveries, retries, in batches, "
    "long work; `on_dead`; replay",
)
@given(st.lists(st.none() | SECONDS, min_size=1), SECONDS)
def test_those_whose_time_is_over_and_no_others(times: list[int | None], now: int) -> None:
    deliveries = [
        expiring(None if time is None else headers.time_text(datetime.fromtimestamp(time, tz=UTC))) for time in times
    ]
    over = [one for one, time in zip(deliveries, times, strict=True) if time is not None and time <= now]
    assert expired(deliveries, lambda: now * 1000) == over


def test_an_invalid_time_is_ignored() -> None:
    assert expired([expiring(b"soon"), expiring(b"2020-01-01T00:00:00")], lambda: 2_000_000_000_000) == []


@pytest.mark.requirement(
    "Events for later",
    "the expiry as a CloudEvents header; nothing for topics whose events never expire",
)
def test_on_a_topic_whose_events_never_expire_no_header_is_looked_at() -> None:
    late = expiring(b"2020-01-01T00:00:00Z")
    assert expired([late], lambda: 2_000_000_000_000) == [late]
    late.topic = replace(late.topic, expires=False)
    assert expired([late], lambda: 2_000_000_000_000) == []
