"""When and whether a failed delivery runs again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.errors import Permanent, Reason, Retry, SoftTimeLimitExceeded, TimeLimitExceeded
from streams.delivery.handler import Backoff
from streams.delivery.scheduling.retry_tiers import Again, Dead, Hop, Run, Wait, decide, next_move, tier_for
from tests.support.factories import a_handler

NOW = 1_700_000_000_000
DELAYS = (0.0, 10.0, 60.0, 600.0, 3600.0)
delays = st.sets(st.sampled_from([1.0, 2.0, 4.0, 10.0, 60.0, 600.0, 3600.0])).map(lambda some: (0.0, *sorted(some)))


@pytest.mark.parametrize(
    ("run", "delay"),
    [(1, 10.0), (2, 60.0), (3, 360.0), (4, 2160.0), (5, 3600.0), (6, None), (7, None)],
)
def test_backoff_grows_by_its_factor_up_to_its_limit_and_ends(run: int, delay: float | None) -> None:
    assert Backoff(first="10s", factor=6, attempts=6, limit="1h").delay(run) == delay


@given(st.integers(1, 400), st.floats(0, 0.999))
def test_backoff_never_shortens_and_lengthens_by_at_most_the_jitter(run: int, spread: float) -> None:
    policy = Backoff(attempts=1000, jitter=0.25)
    plain, spread_out = policy.delay(run), policy.delay(run, spread)
    assert plain is not None
    assert spread_out is not None
    assert plain <= spread_out <= plain * 1.25


def test_an_ordinary_error_is_retried_after_the_policy_s_delay() -> None:
    assert decide(a_handler(), 1, ValueError("no"), NOW, 0.0) == Again(NOW + 10_000)


def test_the_last_attempt_s_error_is_death_by_exhaustion() -> None:
    assert decide(a_handler(retry=Backoff(attempts=3)), 3, ValueError("no"), NOW, 0.0) == Dead(Reason.EXHAUSTED)


def test_permanent_and_listed_fatal_errors_die_at_the_first_attempt() -> None:
    assert decide(a_handler(), 1, Permanent("empty"), NOW, 0.0) == Dead(Reason.PERMANENT)
    assert decide(a_handler(fatal=(KeyError,)), 1, KeyError("x"), NOW, 0.0) == Dead(Reason.FATAL)


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded("soft"), TimeLimitExceeded("hard")])
def test_a_time_limit_is_retried_and_named_when_it_was_the_last(error: Exception) -> None:
    handler = a_handler(retry=Backoff(attempts=2))
    assert isinstance(decide(handler, 1, error, NOW, 0.0), Again)
    assert decide(handler, 2, error, NOW, 0.0) == Dead(Reason.TIME_LIMIT)


def test_retry_after_sets_the_time_but_not_the_number_of_attempts() -> None:
    handler = a_handler(retry=Backoff(attempts=2))
    assert decide(handler, 1, Retry("busy", after=90), NOW, 0.5) == Again(NOW + 90_000)
    gone = Retry("row is there", after=90, reason=Reason.ROW_STILL_EXISTS)
    assert decide(handler, 2, gone, NOW, 0.0) == Dead(Reason.ROW_STILL_EXISTS)


@pytest.mark.parametrize(
    ("remaining", "tier"), [(0, 0), (9.9, 0), (10, 10), (59, 10), (60, 60), (3599, 600), (3600, 3600), (86_400, 3600)]
)
def test_the_tier_is_the_longest_that_is_not_longer_than_what_remains(remaining: float, tier: float) -> None:
    assert tier_for(remaining, DELAYS) == tier


def test_a_record_rests_for_its_tier_s_delay_then_hops_while_time_remains() -> None:
    due_at = NOW + 75_000
    assert next_move(NOW, due_at, NOW, 60.0, DELAYS) == Wait(NOW + 60_000)
    assert next_move(NOW + 60_000, due_at, NOW, 60.0, DELAYS) == Hop(10.0)
    assert next_move(NOW + 70_000, due_at, NOW + 60_000, 10.0, DELAYS) == Wait(due_at)
    assert next_move(due_at, due_at, NOW + 60_000, 10.0, DELAYS) == Run()


@given(delays, st.integers(0, 100_000_000), st.sampled_from([0.0, 1.0, 60.0, 3600.0]))
def test_a_record_runs_exactly_when_it_is_due_after_finitely_many_hops(
    delays: tuple[float, ...], wait_ms: int, first_tier: float
) -> None:
    """Whatever tiers there are, also one that is no longer configured: never early, never stranded."""
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
