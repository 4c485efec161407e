"""Lanes: one delivery at a time per lane; lanes take turns by topic, then by tenant. No I/O."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas import Event
from streams.delivery.delivery import Delivery
from streams.delivery.handler import Handler


class LaneKey(NamedTuple):
    """Identifies a lane: one key of a partition and one handler. The lane of a batch handler is the whole partition.

    A tuple, because one is created for every delivery.
    """

    topic: str
    partition: int
    handler: str
    key: bytes | None


@dataclass(slots=True, eq=False)
class Lane:
    """Waiting deliveries in offset order."""

    key: LaneKey
    waiting: deque[Delivery] = field(default_factory=deque)
    running: bool = False
    last_started: int = -1
    """The last offset of which a delivery started."""


@dataclass(slots=True, eq=False)
class Unit:
    """What one slot runs: one delivery, or a batch of deliveries in offset order."""

    lane: Lane
    handler: Handler[Event]
    deliveries: list[Delivery]


def lane_key(delivery: Delivery) -> LaneKey:
    """Return the lane of a delivery."""
    record, handler = delivery.record, delivery.handler
    return LaneKey(record.topic, record.partition, handler.name, None if handler.kind == "batch" else delivery.key)


Turn = OrderedDict[str | None, deque[Lane]]
LOW_PRIORITY_TURN = 4
"""Low-priority topics get every fourth turn."""


class Lanes:
    """The window of one pool: all accepted deliveries that do not run yet."""

    def __init__(
        self,
        limits: Mapping[str, int] | None = None,
        *,
        tenant_share: int | None = None,
        low_priority: Collection[str] = (),
        stays_queued: Callable[[Delivery], bool] | None = None,
    ) -> None:
        """Create empty lanes.

        Args:
            limits: Handler name → its concurrent units, for handlers with a limit of their own.
            tenant_share: Maximum number of waiting deliveries per tenant and partition; None: no limit.
            low_priority: Topics that get one turn in four while others wait. Tier zero is one of them: deliveries over
                their tenant's share move there.
            stays_queued: Returns whether a delivery, and with it its lane, must wait until `release`.
        """
        self._limits = limits or {}
        self._tenant_share = tenant_share
        self._low_priority = frozenset(low_priority)
        self._lanes: dict[LaneKey, Lane] = {}
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        self._low_priority_turns: OrderedDict[str, Turn] = OrderedDict()
        self._served = 0
        self._waiting_of_tenant: Counter[tuple[str, int, str | None]] = Counter()
        self._running: Counter[str] = Counter()
        self._at_limit: dict[str, deque[Lane]] = {}
        self._stays_queued = stays_queued
        self._blocked: list[Lane] = []
        self.waiting = 0

    def add_all(self, deliveries: Iterable[Delivery], *, stay_queued: bool = False) -> list[Delivery]:
        """Add deliveries of one partition to their lanes; return those over their tenant's share, which are not added.

        The deliveries of a batch handler share one lane lookup. They have no share, because they never wait long.

        Args:
            deliveries: What is added.
            stay_queued: All handlers of the topic are blocked. Then no tenant waits for another, and there is no share.
        """
        shared: dict[str, Lane] = {}
        over_share: list[Delivery] = []
        for delivery in deliveries:
            handler = delivery.handler
            lane = shared.get(handler.name)
            if lane is not None:
                lane.waiting.append(delivery)
                self.waiting += 1
                continue
            if handler.kind == "batch":
                shared[handler.name] = self._put(delivery)
                continue
            tenant_key = _tenant_key(delivery)
            waiting = self._waiting_of_tenant.get(tenant_key, 0)
            if self._tenant_share is not None and waiting >= self._tenant_share and not stay_queued:
                over_share.append(delivery)
            else:
                self._waiting_of_tenant[tenant_key] = waiting + 1
                self._put(delivery)
        return over_share

    def add(self, delivery: Delivery) -> None:
        """Add a delivery at the end of its lane."""
        if delivery.handler.kind != "batch":
            self._waiting_of_tenant[_tenant_key(delivery)] += 1
        self._put(delivery)

    def _put(self, delivery: Delivery) -> Lane:
        key = lane_key(delivery)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
        lane.waiting.append(delivery)
        self.waiting += 1
        if not lane.running and len(lane.waiting) == 1:
            self._enqueue(lane)
        return lane

    def take(self) -> Unit | None:
        """Return the next unit; its lane is busy until `done`. None: nothing is ready."""
        lane = self._next_lane()
        if lane is None:
            return None
        handler = lane.waiting[0].handler
        if handler.kind == "batch":
            deliveries = [lane.waiting.popleft() for _ in range(min(handler.batch_size, len(lane.waiting)))]
        else:
            deliveries = [lane.waiting.popleft()]
            self._uncount(deliveries[0])
        lane.running = True
        self._running[handler.name] += 1
        self.waiting -= len(deliveries)
        return Unit(lane, handler, deliveries)

    def done(self, unit: Unit) -> None:
        """Note that a unit has ended: its lane is free."""
        lane, name = unit.lane, unit.handler.name
        lane.running = False
        self._running[name] -= 1
        if lanes := self._at_limit.get(name):
            self._enqueue(lanes.popleft())
        if lane.waiting:
            self._enqueue(lane)
        else:
            self._lanes.pop(lane.key, None)

    def release(self) -> None:
        """Make the blocked lanes ready again."""
        blocked, self._blocked = self._blocked, []
        for lane in blocked:
            self._enqueue(lane)

    def discard(self, unwanted: Callable[[Delivery], bool]) -> int:
        """Discard waiting deliveries, such as those of revoked partitions; return how many."""
        before = self.waiting
        for lane in self._lanes.values():
            lane.waiting = deque(delivery for delivery in lane.waiting if not unwanted(delivery))
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.waiting or lane.running}
        self._turns.clear()
        self._low_priority_turns.clear()
        self._at_limit.clear()
        self._blocked.clear()
        for lane in self._lanes.values():
            if lane.waiting and not lane.running:
                self._enqueue(lane)
        left = [delivery for lane in self._lanes.values() for delivery in lane.waiting]
        self._waiting_of_tenant = Counter(
            _tenant_key(delivery) for delivery in left if delivery.handler.kind != "batch"
        )
        self.waiting = len(left)
        return before - self.waiting

    def _next_lane(self) -> Lane | None:
        """Return the next lane. Lanes of a handler at its limit wait until one of its units ends."""
        while turns := self._next_turns():
            topic, turn = next(iter(turns.items()))
            tenant, ready = next(iter(turn.items()))
            lane = ready.popleft()
            _rotate(turns, topic, tenant)
            name = lane.key.handler
            limit = self._limits.get(name)
            if limit is not None and self._running[name] >= limit:
                self._at_limit.setdefault(name, deque()).append(lane)
            elif self._stays_queued is not None and self._stays_queued(lane.waiting[0]):
                self._blocked.append(lane)
            else:
                return lane
        return None

    def _enqueue(self, lane: Lane) -> None:
        turns = self._low_priority_turns if lane.key.topic in self._low_priority else self._turns
        turn = turns.get(lane.key.topic)
        if turn is None:
            turn = turns[lane.key.topic] = OrderedDict()
        tenant = lane.waiting[0].event.tenant_id
        ready = turn.get(tenant)
        if ready is None:
            turn[tenant] = deque((lane,))
        else:
            ready.append(lane)

    def _next_turns(self) -> OrderedDict[str, Turn]:
        """Return the topics of the next turn; empty if nothing is ready."""
        if not self._low_priority_turns or not self._turns:
            return self._turns or self._low_priority_turns
        self._served += 1
        return self._turns if self._served % LOW_PRIORITY_TURN else self._low_priority_turns

    def _uncount(self, delivery: Delivery) -> None:
        tenant_key = _tenant_key(delivery)
        left = self._waiting_of_tenant[tenant_key] - 1
        if left:
            self._waiting_of_tenant[tenant_key] = left
        else:
            del self._waiting_of_tenant[tenant_key]


def _tenant_key(delivery: Delivery) -> tuple[str, int, str | None]:
    return delivery.record.topic, delivery.record.partition, delivery.event.tenant_id


def _rotate(turns: OrderedDict[str, Turn], topic: str, tenant: str | None) -> None:
    """Move a served tenant and topic behind the others; remove them if they have no ready lane."""
    turn = turns[topic]
    if turn[tenant]:
        turn.move_to_end(tenant)
    else:
        del turn[tenant]
    if turn:
        turns.move_to_end(topic)
    else:
        del turns[topic]
