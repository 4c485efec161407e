"""The circuit breaker: when it opens, probes and closes."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.delivery.admission.circuit_breaker import (
    FAILURES_UNTIL_OPEN,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PROBE_LIMIT,
    CircuitBreaker,
)


def opened(now: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker("embeddings")
    for _ in range(FAILURES_UNTIL_OPEN):
        breaker.failed(now, "away")
    return breaker


@pytest.mark.requirement(
    "Faults and operations",
    "breakers: open on consecutive failures, pure and mixed topics, probe, close, no attempt burned",
)
def test_it_opens_at_consecutive_failures_only() -> None:
    breaker = CircuitBreaker("embeddings")
    for _ in range(FAILURES_UNTIL_OPEN * 3):
        breaker.failed(0.0, "once")
        breaker.succeeded()
    assert breaker.state == "closed"
    assert opened().state == "open"


@pytest.mark.requirement(
    "Faults and operations",
    "breakers: open on consecutive failures, pure and mixed topics, probe, close, no attempt burned",
)
def test_one_probe_goes_through_when_the_pause_is_over() -> None:
    breaker = opened()
    assert not breaker.permits(FIRST_PAUSE - 0.1)
    assert breaker.permits(FIRST_PAUSE)
    assert breaker.run_started(FIRST_PAUSE)
    assert not breaker.permits(FIRST_PAUSE)
    breaker.succeeded()
    assert breaker.permits(FIRST_PAUSE)


def test_each_probe_that_fails_doubles_the_pause_up_to_its_limit() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(6):
        now = breaker.retry_at
        breaker.run_started(now)
        breaker.failed(now, "still away")
        pauses.append(breaker.pause)
    assert pauses == [10.0, 20.0, 40.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_failure_of_an_earlier_run_does_not_lengthen_the_pause() -> None:
    breaker = opened()
    breaker.failed(1.0, "an earlier run")
    assert breaker.retry_at == FIRST_PAUSE


def test_a_probe_without_a_result_leaves_the_probe_to_another_delivery() -> None:
    breaker = opened()
    breaker.run_started(6.0)
    breaker.run_ended(7.0)
    assert breaker.permits(7.0)
    assert breaker.state == "open"


@pytest.mark.requirement("Faults of others", "R18: a long probe holds up no other work for longer than a bound")
def test_another_delivery_may_probe_while_a_long_probe_runs() -> None:
    breaker = opened()
    breaker.run_started(FIRST_PAUSE)
    assert not breaker.permits(FIRST_PAUSE + PROBE_LIMIT - 0.1)
    assert breaker.permits(FIRST_PAUSE + PROBE_LIMIT)
    assert breaker.run_started(FIRST_PAUSE + PROBE_LIMIT)
    assert not breaker.permits(FIRST_PAUSE + PROBE_LIMIT)
    breaker.succeeded()
    assert breaker.permits(FIRST_PAUSE + PROBE_LIMIT)
    assert not breaker.run_started(FIRST_PAUSE + PROBE_LIMIT), "a run with a closed breaker is no probe"


class AnyHistory(RuleBasedStateMachine):
    """In any order of outcomes, work is never blocked longer than the longest pause."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker("embeddings")
        self.now = 0.0
        self.running = 0

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.permits(self.now))
    @rule()
    def begin(self) -> None:
        self.breaker.run_started(self.now)
        self.running += 1

    @precondition(lambda self: self.running)
    @rule(outcome=st.sampled_from(["failed", "succeeded", "nothing"]))
    def end(self, outcome: str) -> None:
        self.running -= 1
        if outcome == "failed":
            self.breaker.failed(self.now, "away")
        elif outcome == "succeeded":
            self.breaker.succeeded()
        if self.breaker.state == "probing":
            self.breaker.run_ended(self.now)

    @invariant()
    def the_next_probe_is_bounded(self) -> None:
        assert self.breaker.retry_at <= self.now + LONGEST_PAUSE
        if self.breaker.state == "probing":
            assert self.running
        if self.breaker.state == "closed":
            assert self.breaker.permits(self.now)


TestItNeverStaysOpen = AnyHistory.TestCase
