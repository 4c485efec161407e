"""The breakers of a process: handlers ask before they run, and tell what they found."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from schemas import Event
from streams.delivery.admission.circuit_breaker import CircuitBreaker
from streams.delivery.errors import Unavailable
from streams.delivery.handler import Handler
from streams.observability import metrics
from streams.observability.logs import get_logger
from streams.observability.redaction import redacted

log = get_logger(__name__)
SHORTEST_WAIT = 1.0
"""Seconds at least until a delivery that waits for a dependency is looked at again."""


class BreakerRegistry:
    """One for all pools of a process. Lives on the event loop."""

    def __init__(self, dependencies: Iterable[str]) -> None:
        self._breakers = {name: CircuitBreaker(name) for name in sorted(set(dependencies))}
        self._listeners: list[Callable[[], None]] = []
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.any_open = False
        """Whether any is not closed: looked at for every delivery, so it costs one attribute."""
        for name in self._breakers:
            metrics.breaker_open(name).set(0)

    @property
    def all(self) -> Sequence[CircuitBreaker]:
        """Every breaker, by name."""
        return tuple(self._breakers.values())

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call it when work that was held back may go on."""
        self._listeners.append(listener)

    def blocks(self, handler: Handler[Event]) -> str | None:
        """The dependency for which the handler may not run now; None: it may."""
        now = time.monotonic()
        return next((name for name in handler.needs if not self._of(name).permits(now)), None)

    def remaining(self, dependency: str) -> float:
        """Seconds until a probe of it is due, and a second at least."""
        return max(SHORTEST_WAIT, self._of(dependency).retry_at - time.monotonic())

    def enter(self, handler: Handler[Event]) -> None:
        """A delivery of the handler begins; where a breaker is open it is the one that probes."""
        for name in handler.needs:
            self._of(name).enter()

    def left(self, handler: Handler[Event]) -> None:
        """A delivery of the handler ended, whatever it told before."""
        for name in handler.needs:
            breaker = self._of(name)
            if breaker.state == "probing":
                breaker.undecided(time.monotonic())
                self._changed()

    def succeeded(self, handler: Handler[Event]) -> None:
        """The handler has done its work."""
        for name in handler.needs:
            breaker = self._of(name)
            if breaker.state != "closed":
                log.info("dependency answers again", dependency=name)
            if breaker.failures:
                breaker.succeeded()
                self._changed()

    def failed(self, error: Unavailable) -> bool:
        """A dependency did not answer; True: its breaker is open by now, and the delivery waits, uncounted."""
        breaker = self._of(error.dependency)
        was_closed = breaker.state == "closed"
        breaker.failed(time.monotonic(), redacted(str(error)))
        if breaker.state == "closed":
            return False
        if was_closed:
            log.warning("dependency does not answer, work that needs it waits", dependency=breaker.dependency)
        self._wake_at_probe(breaker)
        self._changed()
        return True

    def blocked_by(self, error: Unavailable) -> float | None:
        """Seconds that a delivery which failed so has to wait; None: its breaker is closed, the failure counts."""
        breaker = self._of(error.dependency)
        return None if breaker.state == "closed" else self.remaining(error.dependency)

    def tell(self, dependency: str, error: str | None) -> None:
        """What was found of a dependency for which work waits in its own way: why it fails, or None: it answers."""
        breaker = self._of(dependency)
        if error is None:
            if breaker.failures:
                breaker.succeeded()
                self._changed()
        else:
            breaker.opened(time.monotonic(), error)
            self._changed()

    def close(self) -> None:
        """Wake nobody any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._listeners.clear()

    def _of(self, dependency: str) -> CircuitBreaker:
        breaker = self._breakers.get(dependency)
        if breaker is None:
            breaker = self._breakers[dependency] = CircuitBreaker(dependency)
        return breaker

    def _wake_at_probe(self, breaker: CircuitBreaker) -> None:
        if (former := self._timers.get(breaker.dependency)) is not None:
            former.cancel()
        loop = asyncio.get_running_loop()
        self._timers[breaker.dependency] = loop.call_later(self.remaining(breaker.dependency), self._changed)

    def _changed(self) -> None:
        self.any_open = any(breaker.state != "closed" for breaker in self._breakers.values())
        for breaker in self._breakers.values():
            metrics.breaker_open(breaker.dependency).set(breaker.state != "closed")
        for listener in self._listeners:
            listener()
