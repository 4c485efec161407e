"""The circuit breakers of a process: checked before a handler runs, updated with the outcome of each run."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from schemas import Event
from streams.delivery.admission.circuit_breaker import PROBE_LIMIT, CircuitBreaker
from streams.delivery.errors import Unavailable
from streams.delivery.handler import Handler
from streams.observability import metrics
from streams.observability.logs import get_logger
from streams.observability.redaction import redacted

log = get_logger(__name__)
SHORTEST_WAIT = 1.0
"""Minimum number of seconds until a delivery that waits for a dependency is checked again."""
UNDECLARED_LIMIT = 8
"""Undeclared dependencies of one handler that get a breaker. A name that is made from data would open any number."""


class BreakerRegistry:
    """One breaker per dependency, shared by all pools of a process. Runs on the event loop."""

    def __init__(self, dependencies: Iterable[str]) -> None:
        self._breakers = {name: CircuitBreaker(name) for name in sorted(set(dependencies))}
        self._listeners: list[Callable[[], None]] = []
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._learned: dict[str, tuple[str, ...]] = {}
        """By handler: dependencies that it reported as unavailable and does not declare."""
        self.any_open = False
        """Whether any breaker is not closed. An attribute, because it is read for every delivery."""
        for name in self._breakers:
            metrics.breaker_open(name).set(0)

    @property
    def all(self) -> Sequence[CircuitBreaker]:
        """Every breaker, by name."""
        return tuple(self._breakers.values())

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call the listener when blocked deliveries may continue."""
        self._listeners.append(listener)

    def blocking_dependency(self, handler: Handler[Event]) -> str | None:
        """Return the dependency because of which the handler must not run now; None: it may run."""
        now = time.monotonic()
        return next((name for name in self.needs(handler) if not self._breaker(name).permits(now)), None)

    def needs(self, handler: Handler[Event]) -> tuple[str, ...]:
        """Return the dependencies of a handler: those that it declares, and those that it reported as unavailable."""
        return handler.needs + self._learned.get(handler.name, ()) if self._learned else handler.needs

    def needs_probe(self, handler: Handler[Event]) -> bool:
        """Return whether a dependency of the handler is not known to answer: only a probe may run."""
        return self.any_open and any(self._breaker(name).state != "closed" for name in self.needs(handler))

    def seconds_until_probe(self, dependency: str) -> float:
        """Return the seconds until the dependency is probed, at least `SHORTEST_WAIT`."""
        return max(SHORTEST_WAIT, self._breaker(dependency).retry_at - time.monotonic())

    def run_started(self, handler: Handler[Event]) -> None:
        """Note that a run of the handler starts. If a breaker is open, this run is its probe."""
        now = time.monotonic()
        for name in self.needs(handler):
            breaker = self._breaker(name)
            if breaker.run_started(now):
                self._wake_after(breaker, PROBE_LIMIT)

    def run_ended(self, handler: Handler[Event]) -> None:
        """Note that a run of the handler ended. A probe without a result leaves the probe to the next run."""
        for name in self.needs(handler):
            breaker = self._breaker(name)
            if breaker.state == "probing":
                breaker.run_ended(time.monotonic())
                self._changed()

    def succeeded(self, handler: Handler[Event]) -> None:
        """Close the breakers of the handler's dependencies after a successful run."""
        for name in self.needs(handler):
            breaker = self._breaker(name)
            if breaker.state != "closed":
                log.info("dependency answers again", dependency=name)
            if breaker.failures:
                breaker.succeeded()
                self._changed()

    def failed(self, error: Unavailable, handler: Handler[Event] | None = None) -> bool:
        """Count a failure of a dependency. Return whether its breaker is open: the delivery then waits, uncounted.

        Args:
            error: Names the dependency.
            handler: Which handler failed. From now on its successes count for the dependency, also if it is not
                declared; without that its breaker would never close. None: the dependency was not used by a handler.
        """
        if handler is not None and not self._learn(handler, error.dependency):
            return False
        breaker = self._breaker(error.dependency)
        was_closed = breaker.state == "closed"
        breaker.failed(time.monotonic(), redacted(str(error)))
        if breaker.state == "closed":
            return False
        if was_closed:
            log.warning("dependency does not answer; deliveries that need it wait", dependency=breaker.dependency)
        self._wake_after(breaker, self.seconds_until_probe(breaker.dependency))
        self._changed()
        return True

    def retry_delay(self, error: Unavailable) -> float | None:
        """Return the seconds that a delivery with this failure waits; None: its breaker is closed, so it counts."""
        breaker = self._breakers.get(error.dependency)
        if breaker is None or breaker.state == "closed":
            return None
        return self.seconds_until_probe(error.dependency)

    def report(self, dependency: str, error: str | None) -> None:
        """Set the state of a dependency that has its own way to wait, such as the database.

        Args:
            dependency: Its name.
            error: Why it does not answer; None: it answers.
        """
        breaker = self._breaker(dependency)
        if error is None:
            if breaker.failures:
                breaker.succeeded()
                self._changed()
        else:
            breaker.force_open(time.monotonic(), error)
            self._changed()

    def close(self) -> None:
        """Stop the timers and remove the listeners."""
        for timer in self._timers.values():
            timer.cancel()
        self._listeners.clear()

    def _learn(self, handler: Handler[Event], dependency: str) -> bool:
        """Note an undeclared dependency of a handler; False: it reported too many, so they are no dependencies."""
        if dependency in self.needs(handler):
            return True
        learned = self._learned.get(handler.name, ())
        if len(learned) >= UNDECLARED_LIMIT:
            return False
        log.warning(
            "handler reports a dependency that it does not declare", handler=handler.name, dependency=dependency
        )
        self._learned[handler.name] = (*learned, dependency)
        return True

    def _breaker(self, dependency: str) -> CircuitBreaker:
        breaker = self._breakers.get(dependency)
        if breaker is None:
            breaker = self._breakers[dependency] = CircuitBreaker(dependency)
        return breaker

    def _wake_after(self, breaker: CircuitBreaker, seconds: float) -> None:
        if (former := self._timers.get(breaker.dependency)) is not None:
            former.cancel()
        loop = asyncio.get_running_loop()
        self._timers[breaker.dependency] = loop.call_later(seconds, self._changed)

    def _changed(self) -> None:
        self.any_open = any(breaker.state != "closed" for breaker in self._breakers.values())
        for breaker in self._breakers.values():
            metrics.breaker_open(breaker.dependency).set(breaker.state != "closed")
        for listener in self._listeners:
            listener()
