"""Retry tiers: the tier for a delay, and the next step of a record in a tier."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.scheduling.retry_tiers import (
    FIRST_REST,
    LONGEST_REST,
    SHORTEST_PART,
    Hop,
    RetryTiers,
    Run,
    Wait,
    next_move,
    rest_of_deferral,
    tier_for,
)
from tests.support.factories import CATALOGUE

NOW = 1_700_000_000_000
DELAYS = (0.0, 10.0, 60.0, 600.0, 3600.0)
delays = st.sets(st.sampled_from([1.0, 2.0, 4.0, 10.0, 60.0, 600.0, 3600.0])).map(lambda some: (0.0, *sorted(some)))


@pytest.mark.parametrize(
    ("remaining", "tier"), [(0, 0), (9.9, 0), (10, 10), (59, 10), (60, 60), (3599, 600), (3600, 3600), (86_400, 3600)]
)
def test_the_tier_is_the_longest_that_is_not_longer_than_what_remains(remaining: float, tier: float) -> None:
    assert tier_for(remaining, DELAYS) == tier


def test_the_tiers_of_a_pool_are_those_of_the_settings() -> None:
    tiers = RetryTiers.of(CATALOGUE, "low")
    assert tiers.delays == DELAYS
    assert (tiers.first, tiers.topic_for(-5.0)) == (CATALOGUE.tier("low", 0.0), CATALOGUE.tier("low", 0.0))
    assert tiers.topic_for(700.0) == CATALOGUE.tier("low", 600.0)


def test_a_record_waits_for_the_delay_of_its_tier_then_hops_while_time_remains() -> None:
    due_at = NOW + 75_000
    assert next_move(NOW, due_at, NOW, 60.0, DELAYS) == Wait(NOW + 60_000)
    assert next_move(NOW + 60_000, due_at, NOW, 60.0, DELAYS) == Hop(10.0)
    assert next_move(NOW + 70_000, due_at, NOW + 60_000, 10.0, DELAYS) == Wait(due_at)
    assert next_move(due_at, due_at, NOW + 60_000, 10.0, DELAYS) == Run()


@pytest.mark.requirement("Delivery", "retries at their time, never early")
@pytest.mark.requirement(
    "Faults and operations",
    "pure parts by properties: offset prefix, lanes, retry plan, splitting",
)
@given(delays, st.integers(0, 100_000_000), st.sampled_from([0.0, 1.0, 60.0, 3600.0]))
def test_a_record_runs_exactly_when_it_is_due_after_finitely_many_hops(
    delays: tuple[float, ...], wait_ms: int, first_tier: float
) -> None:
    """With any tiers, even one that is no longer configured, it is never early and never stuck."""
    due_at, now, arrived, tier = NOW + wait_ms, NOW, NOW, first_tier
    for _ in range(10 + 3 * (wait_ms // 1000)):
        move = next_move(now, due_at, arrived, tier, delays)
        match move:
            case Run():
                assert now == due_at or wait_ms == 0
                return
            case Wait(until):
                assert now < until <= due_at
                now = until
            case Hop(delay):
                assert 0 < delay * 1000 <= due_at - now
                tier, arrived = delay, now
    pytest.fail("never ran")


@given(st.integers(0, 10**6), delays)
def test_a_rest_grows_to_ten_minutes_and_fits_a_tier(deferrals: int, known: tuple[float, ...]) -> None:
    """No rest is longer than its limit, and a tier that is used for it is never longer than the rest."""
    rest = rest_of_deferral(deferrals, known)
    assert FIRST_REST / SHORTEST_PART <= rest <= LONGEST_REST
    assert tier_for(rest, known) <= rest
    assert rest_of_deferral(16, known) >= LONGEST_REST / SHORTEST_PART


@pytest.mark.requirement("Faults of others", "R8: the rest of a blocked delivery grows up to ten minutes")
def test_the_rests_with_the_default_tiers() -> None:
    rests = [rest_of_deferral(deferrals, DELAYS) for deferrals in range(8)]
    assert rests == [10.0, 10.0, 60.0, 60.0, 60.0, 60.0, 600.0, 600.0]
