"""When work on a dependency stops, and when it is tried again."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.delivery.admission.circuit_breaker import FAILURES_UNTIL_OPEN, FIRST_PAUSE, LONGEST_PAUSE, CircuitBreaker


def opened(now: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker("embeddings")
    for _ in range(FAILURES_UNTIL_OPEN):
        breaker.failed(now, "away")
    return breaker


def test_it_opens_at_consecutive_failures_only() -> None:
    breaker = CircuitBreaker("embeddings")
    for _ in range(FAILURES_UNTIL_OPEN * 3):
        breaker.failed(0.0, "once")
        breaker.succeeded()
    assert breaker.state == "closed"
    assert opened().state == "open"


def test_one_probe_goes_through_when_the_pause_is_over() -> None:
    breaker = opened()
    assert not breaker.permits(FIRST_PAUSE - 0.1)
    assert breaker.permits(FIRST_PAUSE)
    breaker.enter()
    assert not breaker.permits(FIRST_PAUSE)
    breaker.succeeded()
    assert breaker.permits(FIRST_PAUSE)


def test_each_probe_that_fails_doubles_the_pause_up_to_its_limit() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(6):
        now = breaker.retry_at
        breaker.enter()
        breaker.failed(now, "still away")
        pauses.append(breaker.pause)
    assert pauses == [10.0, 20.0, 40.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_what_ran_before_it_opened_does_not_lengthen_the_pause() -> None:
    breaker = opened()
    breaker.failed(1.0, "one of those under way")
    assert breaker.retry_at == FIRST_PAUSE


def test_a_probe_that_says_nothing_leaves_its_turn_to_another() -> None:
    breaker = opened()
    breaker.enter()
    breaker.undecided(7.0)
    assert breaker.permits(7.0)
    assert breaker.state == "open"


class AnyCourse(RuleBasedStateMachine):
    """Whatever happens in whatever order, work is never stopped for longer than the longest pause."""

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
        self.breaker.enter()
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
            self.breaker.undecided(self.now)

    @invariant()
    def it_says_when_it_tries_again(self) -> None:
        assert self.breaker.retry_at <= self.now + LONGEST_PAUSE
        if self.breaker.state == "probing":
            assert self.running
        if self.breaker.state == "closed":
            assert self.breaker.permits(self.now)


TestItNeverStaysShut = AnyCourse.TestCase
