"""When work that needs a dependency stops, and when it is tried again: a value over a clock, without I/O."""

from dataclasses import dataclass
from typing import Literal

FAILURES_UNTIL_OPEN = 3
"""Consecutive failures of a dependency; what succeeds in between starts the count anew."""
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 60.0
"""Seconds until one delivery probes; the pause doubles with each probe that fails."""

UNAVAILABLE_PAUSE = 0.3
"""Seconds until a handler runs again whose dependency did not answer, while the breaker is closed; then longer."""

BreakerState = Literal["closed", "open", "probing"]


@dataclass(slots=True)
class CircuitBreaker:
    """Of one dependency in one process. Times are seconds of any clock that never goes back."""

    dependency: str
    failures: int = 0
    state: BreakerState = "closed"
    pause: float = 0.0
    """How long it is open before the next probe."""
    retry_at: float = 0.0
    error: str | None = None
    """Why it is not closed."""

    def permits(self, now: float) -> bool:
        """Whether a delivery that needs the dependency may run: closed, or it is time for a probe."""
        return self.state == "closed" or (self.state == "open" and now >= self.retry_at)

    def enter(self) -> None:
        """A delivery that was permitted begins: where the breaker is open it is the probe."""
        if self.state == "open":
            self.state = "probing"

    def failed(self, now: float, error: str) -> None:
        """The dependency did not answer, or answered with a failure of its own."""
        self.failures += 1
        if self.state == "closed" and self.failures < FAILURES_UNTIL_OPEN:
            return
        if self.state == "open" and now < self.retry_at:
            return  # Of a delivery that ran before it opened: nothing new.
        self.pause = min(self.pause * 2, LONGEST_PAUSE) if self.pause else FIRST_PAUSE
        self.state, self.retry_at, self.error = "open", now + self.pause, error

    def opened(self, now: float, error: str) -> None:
        """It is known to be away, whatever the number of failures."""
        self.failures = max(self.failures, FAILURES_UNTIL_OPEN - 1)
        self.failed(now, error)

    def succeeded(self) -> None:
        """Work that needs the dependency was done."""
        self.failures, self.state, self.pause, self.error = 0, "closed", 0.0, None

    def undecided(self, now: float) -> None:
        """A delivery ended without a word about the dependency: if it was the probe, another one may be."""
        if self.state == "probing":
            self.state, self.retry_at = "open", now
