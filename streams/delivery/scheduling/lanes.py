"""Which delivery runs next: one at a time within a lane, lanes in turn between topics, then tenants. No I/O."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas import Event
from streams.delivery.delivery import Delivery
from streams.delivery.handler import Handler


class LaneKey(NamedTuple):
    """A lane: the deliveries of one key in a partition; a batch handler's lane is the whole partition.

    A tuple, since one is made for every delivery.
    """

    topic: str
    partition: int
    handler: str
    key: bytes | None


@dataclass(slots=True, eq=False)
class Lane:
    """Deliveries waiting in offset order."""

    key: LaneKey
    waiting: deque[Delivery] = field(default_factory=deque)
    running: bool = False


@dataclass(slots=True, eq=False)
class Unit:
    """What runs at once: one delivery, or a batch handler's list in offset order."""

    lane: Lane
    handler: Handler[Event]
    deliveries: list[Delivery]


def lane_key(delivery: Delivery) -> LaneKey:
    """The lane of a delivery."""
    record, handler = delivery.record, delivery.handler
    return LaneKey(record.topic, record.partition, handler.name, None if handler.kind == "batch" else delivery.key)


Turn = OrderedDict[str | None, deque[Lane]]
ASIDE_TURN = 4
"""Topics that are aside get every fourth turn."""


class Lanes:
    """The window of one pool: everything handed over that does not run yet."""

    def __init__(
        self,
        limits: Mapping[str, int] | None = None,
        *,
        share: int | None = None,
        aside: Collection[str] = (),
        holds_back: Callable[[Delivery], bool] | None = None,
    ) -> None:
        """What bounds the turns.

        `limits`: handler name → its units that may run at once, for handlers that have a limit of their own.
        `share`: deliveries of one tenant that may wait here, of one partition; None: any number.
        `aside`: topics that get one turn in four while others wait: there a tenant's deliveries past its share go.
        `holds_back`: whether a delivery, and with it its lane, has to stay until `release`.
        """
        self._limits = limits or {}
        self._share = share
        self._aside = frozenset(aside)
        self._lanes: dict[LaneKey, Lane] = {}
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        self._aside_turns: OrderedDict[str, Turn] = OrderedDict()
        self._served = 0
        self._of_tenants: Counter[tuple[str, int, str | None]] = Counter()
        self._under_way: Counter[str] = Counter()
        self._held: dict[str, deque[Lane]] = {}
        self._holds_back = holds_back
        self._held_back: list[Lane] = []
        self.waiting = 0

    def add_all(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Put deliveries of one partition at the end of their lanes; returns those past their tenant's share, not put.

        A batch handler's deliveries share one look-up, and know no share: they wait for nobody long.
        """
        shared: dict[str, Lane] = {}
        crowded: list[Delivery] = []
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
            tenancy = _tenancy(delivery)
            waiting = self._of_tenants.get(tenancy, 0)
            if self._share is not None and waiting >= self._share:
                crowded.append(delivery)
            else:
                self._of_tenants[tenancy] = waiting + 1
                self._put(delivery)
        return crowded

    def add(self, delivery: Delivery) -> None:
        """Put a delivery at the end of its lane."""
        if delivery.handler.kind != "batch":
            self._of_tenants[_tenancy(delivery)] += 1
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
        """The next unit, whose lane now runs until `done`; None where nothing is ready."""
        lane = self._next_lane()
        if lane is None:
            return None
        handler = lane.waiting[0].handler
        if handler.kind == "batch":
            deliveries = [lane.waiting.popleft() for _ in range(min(handler.batch_size, len(lane.waiting)))]
        else:
            deliveries = [lane.waiting.popleft()]
            self._count_out(deliveries[0])
        lane.running = True
        self._under_way[handler.name] += 1
        self.waiting -= len(deliveries)
        return Unit(lane, handler, deliveries)

    def done(self, unit: Unit) -> None:
        """The unit has ended: its lane may go on."""
        lane, name = unit.lane, unit.handler.name
        lane.running = False
        self._under_way[name] -= 1
        if held := self._held.get(name):
            self._enqueue(held.popleft())
        if lane.waiting:
            self._enqueue(lane)
        else:
            self._lanes.pop(lane.key, None)

    def release(self) -> None:
        """Lanes that were held back may be asked again."""
        held, self._held_back = self._held_back, []
        for lane in held:
            self._enqueue(lane)

    def discard(self, unwanted: Callable[[Delivery], bool]) -> int:
        """Forget waiting deliveries, such as those of revoked partitions; returns how many."""
        before = self.waiting
        for lane in self._lanes.values():
            lane.waiting = deque(delivery for delivery in lane.waiting if not unwanted(delivery))
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.waiting or lane.running}
        self._turns.clear()
        self._aside_turns.clear()
        self._held.clear()
        self._held_back.clear()
        for lane in self._lanes.values():
            if lane.waiting and not lane.running:
                self._enqueue(lane)
        left = [delivery for lane in self._lanes.values() for delivery in lane.waiting]
        self._of_tenants = Counter(_tenancy(delivery) for delivery in left if delivery.handler.kind != "batch")
        self.waiting = len(left)
        return before - self.waiting

    def _next_lane(self) -> Lane | None:
        """The lane whose turn it is; lanes of handlers at their limit are held until one of their units ends."""
        while turns := self._whose_turn():
            topic, turn = next(iter(turns.items()))
            tenant, ready = next(iter(turn.items()))
            lane = ready.popleft()
            _pass_on(turns, topic, tenant)
            name = lane.key.handler
            limit = self._limits.get(name)
            if limit is not None and self._under_way[name] >= limit:
                self._held.setdefault(name, deque()).append(lane)
            elif self._holds_back is not None and self._holds_back(lane.waiting[0]):
                self._held_back.append(lane)
            else:
                return lane
        return None

    def _enqueue(self, lane: Lane) -> None:
        turns = self._aside_turns if lane.key.topic in self._aside else self._turns
        turn = turns.get(lane.key.topic)
        if turn is None:
            turn = turns[lane.key.topic] = OrderedDict()
        tenant = lane.waiting[0].event.tenant_id
        ready = turn.get(tenant)
        if ready is None:
            turn[tenant] = deque((lane,))
        else:
            ready.append(lane)

    def _whose_turn(self) -> OrderedDict[str, Turn]:
        """The topics whose turn it is; empty where nothing is ready."""
        if not self._aside_turns or not self._turns:
            return self._turns or self._aside_turns
        self._served += 1
        return self._turns if self._served % ASIDE_TURN else self._aside_turns

    def _count_out(self, delivery: Delivery) -> None:
        tenancy = _tenancy(delivery)
        left = self._of_tenants[tenancy] - 1
        if left:
            self._of_tenants[tenancy] = left
        else:
            del self._of_tenants[tenancy]


def _tenancy(delivery: Delivery) -> tuple[str, int, str | None]:
    return delivery.record.topic, delivery.record.partition, delivery.event.tenant_id


def _pass_on(turns: OrderedDict[str, Turn], topic: str, tenant: str | None) -> None:
    """Move a served tenant and topic behind the others; drop them where they have nothing more."""
    turn = turns[topic]
    if turn[tenant]:
        turn.move_to_end(tenant)
    else:
        del turn[tenant]
    if turn:
        turns.move_to_end(topic)
    else:
        del turns[topic]
