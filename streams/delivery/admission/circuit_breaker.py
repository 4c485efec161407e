"""A circuit breaker: stops work that needs a failing dependency, and says when to probe it. No I/O."""

from dataclasses import dataclass
from typing import Literal

FAILURES_UNTIL_OPEN = 3
"""Consecutive failures of a dependency until its breaker opens. A success resets the count."""
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0
"""Seconds until one delivery probes the dependency. The pause doubles with each failed probe."""

PROBE_LIMIT = 5.0
"""Seconds after which another delivery may probe while a probe still runs: a long one must not hold up all others."""

UNAVAILABLE_PAUSE = 0.3
"""Seconds until a handler runs again after a failure of its dependency, while the breaker is closed.

Each further run waits this much longer.
"""

BreakerState = Literal["closed", "open", "probing"]


@dataclass(slots=True)
class CircuitBreaker:
    """The breaker of one dependency in one process. Times are seconds of a monotonic clock."""

    dependency: str
    failures: int = 0
    state: BreakerState = "closed"
    pause: float = 0.0
    """Seconds that it is open before the next probe."""
    retry_at: float = 0.0
    error: str | None = None
    """Why it is not closed."""
    probed_at: float = 0.0
    """When the last probe started."""

    def permits(self, now: float) -> bool:
        """Return whether a delivery that needs the dependency may run: it is closed, or a probe is due."""
        if self.state == "probing":
            return now >= self.probed_at + PROBE_LIMIT
        return self.state == "closed" or now >= self.retry_at

    def run_started(self, now: float) -> bool:
        """Note that a permitted delivery starts. Return whether it is a probe: the breaker is not closed."""
        if self.state == "closed":
            return False
        self.state, self.probed_at = "probing", now
        return True

    def failed(self, now: float, error: str) -> None:
        """Count a failure: the dependency did not answer, or answered with an error of its own."""
        self.failures += 1
        if self.state == "closed" and self.failures < FAILURES_UNTIL_OPEN:
            return
        if self.state == "open" and now < self.retry_at:
            return  # A delivery that started before it opened: it adds nothing.
        self.pause = min(self.pause * 2, LONGEST_PAUSE) if self.pause else FIRST_PAUSE
        self.state, self.retry_at, self.error = "open", now + self.pause, error

    def force_open(self, now: float, error: str) -> None:
        """Open it at once, because the dependency is known to be unavailable."""
        self.failures = max(self.failures, FAILURES_UNTIL_OPEN - 1)
        self.failed(now, error)

    def succeeded(self) -> None:
        """Close it: work that needs the dependency succeeded."""
        self.failures, self.state, self.pause, self.error = 0, "closed", 0.0, None

    def run_ended(self, now: float) -> None:
        """Note that a delivery ended without a result about the dependency. If it probed, another may probe now."""
        if self.state == "probing":
            self.state, self.retry_at = "open", now
