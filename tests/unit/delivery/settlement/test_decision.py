"""What follows an attempt that did not succeed: another attempt later, or a dead letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.errors import (
    LONGEST_DELAY,
    Permanent,
    Reason,
    Retry,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
)
from streams.delivery.handler import Backoff
from streams.delivery.settlement.decision import (
    CRASHES_UNTIL_DEATH,
    Again,
    Dead,
    Outcome,
    after_deferral,
    after_expiry,
    after_failure,
    after_lost_lease,
    after_process_deaths,
    decide,
)
from streams.observability.error_text import ErrorText
from tests.support.factories import a_delivery, a_handler

NOW = 1_700_000_000_000
TEXT = ErrorText("ValueError", "it broke", "stack")
errors = st.one_of(
    st.sampled_from([ValueError("no"), KeyError("x"), Permanent("empty"), MemoryError()]),
    st.sampled_from([SoftTimeLimitExceeded("soft"), TimeLimitExceeded("hard")]),
    st.builds(
        Retry,
        after=st.none() | st.floats(allow_nan=False, allow_infinity=True),
        reason=st.sampled_from(list(Reason)),
    ),
)
policies = st.builds(
    Backoff, factor=st.floats(1, 100), attempts=st.integers(1, 10), jitter=st.floats(0, 1), limit=st.just("1h")
)
seqs, attempts = st.integers(0, 10_000), st.integers(0, 20)
spreads = st.floats(0, 1, exclude_max=True)


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


def test_an_error_of_the_last_attempt_is_a_dead_letter_with_the_reason_exhausted() -> None:
    assert decide(a_handler(retry=Backoff(attempts=3)), 3, ValueError("no"), NOW, 0.0) == Dead(Reason.EXHAUSTED)


def test_permanent_and_fatal_errors_are_dead_letters_at_the_first_attempt() -> None:
    assert decide(a_handler(), 1, Permanent("empty"), NOW, 0.0) == Dead(Reason.PERMANENT)
    assert decide(a_handler(fatal=(KeyError,)), 1, KeyError("x"), NOW, 0.0) == Dead(Reason.FATAL)


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded("soft"), TimeLimitExceeded("hard")])
def test_a_time_limit_is_retried_and_is_the_reason_at_the_last_attempt(error: Exception) -> None:
    handler = a_handler(retry=Backoff(attempts=2))
    assert isinstance(decide(handler, 1, error, NOW, 0.0), Again)
    assert decide(handler, 2, error, NOW, 0.0) == Dead(Reason.TIME_LIMIT)


def test_retry_after_sets_the_time_but_not_the_number_of_attempts() -> None:
    handler = a_handler(retry=Backoff(attempts=2))
    assert decide(handler, 1, Retry("busy", after=90), NOW, 0.5) == Again(NOW + 90_000)
    gone = Retry("row is there", after=90, reason=Reason.ROW_STILL_EXISTS)
    assert decide(handler, 2, gone, NOW, 0.0) == Dead(Reason.ROW_STILL_EXISTS)


@given(policies, errors, seqs, attempts, spreads)
def test_every_failure_is_either_retried_or_dead_with_a_reason(
    policy: Backoff, error: Exception, seq: int, attempts: int, spread: float
) -> None:
    """For any error and policy: `seq` grows by one, the attempt counts, and the outcome is one of the two."""
    delivery = a_delivery(handler=a_handler(retry=policy), seq=seq, attempts=attempts)
    outcome = after_failure(delivery, error, TEXT, now=NOW, spread=spread)
    assert (outcome.seq, outcome.attempts, outcome.ended_at) == (seq + 1, attempts + 1, NOW)
    assert outcome.error_line == "ValueError: it broke"
    assert outcome.is_dead == (outcome.reason is not None) == (outcome.due_at is None)
    if outcome.due_at is not None:
        assert NOW <= outcome.due_at <= NOW + LONGEST_DELAY * 1000
        assert outcome.attempts < policy.attempts
        assert not isinstance(error, Permanent | MemoryError)


@given(policies, st.sampled_from([ValueError("no"), Retry("busy")]), spreads)
def test_a_handler_runs_as_often_as_its_policy_says(policy: Backoff, error: Exception, spread: float) -> None:
    delivery, runs = a_delivery(handler=a_handler(retry=policy)), 1
    while not (outcome := after_failure(delivery, error, TEXT, now=NOW, spread=spread)).is_dead:
        delivery = a_delivery(handler=delivery.handler, seq=outcome.seq, attempts=outcome.attempts)
        runs += 1
    assert (runs, outcome.reason) == (policy.attempts, Reason.EXHAUSTED)


@given(seqs, attempts, st.floats(0, 1e6))
def test_a_deferral_counts_no_attempt(seq: int, attempts: int, after: float) -> None:
    outcome = after_deferral(a_delivery(seq=seq, attempts=attempts), "paused", after=after, now=NOW)
    due_at = NOW + round(after * 1000)
    assert outcome == Outcome("retry", seq + 1, attempts, "deferred", NOW, due_at=due_at, why="paused")
    assert outcome.error_line is None


@given(seqs, attempts, st.integers(0, 10))
def test_the_third_lost_lease_is_a_dead_letter(seq: int, attempts: int, lost_before: int) -> None:
    outcome = after_lost_lease(a_delivery(seq=seq, attempts=attempts), lost_before, now=NOW)
    assert (outcome.seq, outcome.attempts, outcome.lost) == (seq + 1, attempts + 1, 1)
    dead = lost_before + 1 >= CRASHES_UNTIL_DEATH
    assert (outcome.is_dead, outcome.due_at) == ((True, None) if dead else (False, NOW))
    assert outcome.reason == (Reason.CRASHED if dead else None)


def test_an_expired_delivery_and_one_that_crashes_its_process_are_dead_letters() -> None:
    delivery = a_delivery(seq=4, attempts=2)
    expired, killed = after_expiry(delivery, TEXT, now=NOW), after_process_deaths(delivery, now=NOW)
    assert (expired.reason, expired.attempts, expired.seq) == (Reason.EXPIRED, 2, 5)
    assert (killed.reason, killed.attempts, killed.seq) == (Reason.CRASHED, 3, 5)
