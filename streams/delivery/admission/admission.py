"""Decides before every run whether a delivery may start: pauses, circuit breakers, expiry."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas import Event
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.admission.expiry import expired
from streams.delivery.admission.pauses import Pauses
from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.handler import Handler

EXPIRED = "expired"
"""The event has expired and never runs. With any other reason, the delivery may start later."""


Resumption = Literal["run", "probe", "wait"]
"""What a deferred delivery may do now. probe: a dependency may answer again, and one delivery tries it."""


class Blocked(NamedTuple):
    """The deliveries of a unit that must not start, the reason, and the other deliveries of the unit."""

    deliveries: list[Delivery]
    why: str
    others: list[Delivery]


@dataclass(frozen=True, slots=True)
class Admission:
    """Decides for one pool whether deliveries may start. `clock` returns ms since the epoch."""

    gate: DatabaseGate
    pauses: Pauses
    breakers: BreakerRegistry
    by_topic: Mapping[str, tuple[Handler[Event], ...]]
    clock: Callable[[], int] = now_ms

    def blocked(self, deliveries: Sequence[Delivery]) -> Blocked | None:
        """Return the deliveries of a unit that must not start now; None: all may start.

        A unit has one topic and one handler.
        """
        first = deliveries[0]
        topic = first.topic
        if self.any_blocked and (why := self.blocked_handler(topic.name, first.handler)) is not None:
            return Blocked(list(deliveries), why, [])
        if not topic.expires or not (over := expired(deliveries, self.clock)):
            return None
        late = {id(delivery) for delivery in over}
        return Blocked(over, EXPIRED, [delivery for delivery in deliveries if id(delivery) not in late])

    @property
    def any_blocked(self) -> bool:
        """Whether anything is paused or any breaker is open. Cheap, because it is read for every delivery."""
        return self.pauses.any or self.breakers.any_open

    def blocked_handler(self, topic: str, handler: Handler[Event]) -> str | None:
        """Return why a handler must not start for any event of a topic (its name on the cluster); None: it may."""
        pauses, breakers = self.pauses, self.breakers
        if pauses.is_paused(topic, handler.name):
            return "paused"
        if breakers.any_open and (missing := breakers.blocking_dependency(handler)):
            return f"{missing} does not answer"
        return None

    def resumption(self, delivery: Delivery) -> Resumption:
        """Return whether deferred deliveries of this topic and handler may run now: all, one as a probe, or none."""
        if self.blocked_handler(delivery.topic.name, delivery.handler) is not None:
            return "wait"
        return "probe" if self.breakers.needs_probe(delivery.handler) else "run"

    def stays_queued(self, delivery: Delivery) -> bool:
        """Return whether a blocked delivery stays in its lane until the pause or outage is over.

        That is so only for an event topic whose handlers are all blocked. Backpressure then pauses the partition. In
        other cases it would stop other work, so the delivery is deferred to a retry tier.
        """
        topic = delivery.topic.name
        if delivery.record.topic != topic or not self.any_blocked:
            return False
        return all(self.blocked_handler(topic, handler) is not None for handler in self.by_topic[topic])

    @contextmanager
    def track_run(self, handler: Handler[Event]) -> Iterator[None]:
        """Report the start and end of a run to the breakers. If a breaker is open, this run is its probe."""
        self.breakers.run_started(handler)
        try:
            yield
        finally:
            self.breakers.run_ended(handler)
