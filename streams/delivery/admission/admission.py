"""Whether work may begin now: the one question before every run, about pauses, breakers and expiry."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from schemas import Event
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.admission.expiry import expired
from streams.delivery.admission.pauses import DEFERRAL, Pauses
from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.handler import Handler


class BlockReason(NamedTuple):
    """Why work must not begin."""

    why: str
    seconds: float | None
    """After which to ask again; None: the event has expired, it never runs."""


EXPIRED = BlockReason("expired", None)


class Blocked(NamedTuple):
    """Deliveries of a unit that must not begin, the reason, and the other deliveries of the unit."""

    deliveries: list[Delivery]
    reason: BlockReason
    others: list[Delivery]


@dataclass(frozen=True, slots=True)
class Admission:
    """What decides for one pool whether work may begin. `clock` gives ms since the epoch."""

    gate: DatabaseGate
    pauses: Pauses
    breakers: BreakerRegistry
    by_topic: Mapping[str, tuple[Handler[Event], ...]]
    clock: Callable[[], int] = now_ms

    def blocked(self, deliveries: Sequence[Delivery]) -> Blocked | None:
        """Those of a unit that must not begin now; None: all may. A unit has one topic and one handler."""
        first = deliveries[0]
        topic = first.topic
        if (self.pauses.any or self.breakers.any_open) and (
            reason := self.blocked_handler(topic.name, first.handler)
        ) is not None:
            return Blocked(list(deliveries), reason, [])
        if not topic.expires or not (over := expired(deliveries, self.clock)):
            return None
        late = {id(delivery) for delivery in over}
        return Blocked(over, EXPIRED, [delivery for delivery in deliveries if id(delivery) not in late])

    def blocked_handler(self, topic: str, handler: Handler[Event]) -> BlockReason | None:
        """Why a handler must not begin with any event of a topic (its name on the cluster) now; None: it may."""
        pauses, breakers = self.pauses, self.breakers
        if pauses.holds(topic, handler.name):
            return BlockReason("paused", DEFERRAL)
        if breakers.any_open and (missing := breakers.blocks(handler)):
            return BlockReason(f"{missing} does not answer", breakers.remaining(missing))
        return None

    def holds_back(self, delivery: Delivery) -> bool:
        """Whether a delivery stays in the window, and so pauses its partition, until a pause or an outage is over.

        Only on a topic whose handlers are all blocked. Elsewhere it would stop other work, so it is deferred.
        """
        topic = delivery.topic.name
        if delivery.record.topic != topic or not (self.pauses.any or self.breakers.any_open):
            return False
        return all(self.blocked_handler(topic, handler) is not None for handler in self.by_topic[topic])

    @contextmanager
    def probing(self, handler: Handler[Event]) -> Iterator[None]:
        """A delivery of the handler runs: where a breaker is open, it is the one that probes."""
        self.breakers.enter(handler)
        try:
            yield
        finally:
            self.breakers.left(handler)
