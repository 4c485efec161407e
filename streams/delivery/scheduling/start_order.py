"""Checks that first attempts of a key start in offset order. A sentinel: it is 0 as long as the pipeline is right.

Two cheap checks find every start that is out of order. The deliveries of a partition are added in offset order, and
those of a lane start in it. A lane is forgotten when it is empty: then everything that was added to it has started,
and what is added later has a higher offset. So one number per partition and one per lane are enough.
"""

from collections.abc import Sequence

from streams.delivery.delivery import Delivery
from streams.delivery.scheduling.lanes import Unit


def late_additions(deliveries: Sequence[Delivery]) -> int:
    """Note that deliveries of one partition are added; return how many have an offset below one added before."""
    if not deliveries or (assignment := deliveries[0].assignment) is None:
        return 0
    last = assignment.last_added
    assignment.last_added = max(last, deliveries[-1].record.offset)
    if deliveries[0].record.offset >= last:
        return 0
    return sum(delivery.record.offset < last for delivery in deliveries)


def late_starts(unit: Unit) -> int:
    """Note that a unit starts; return how many of its deliveries have an offset below one of the lane that started.

    Deliveries of retry tiers have no order.
    """
    lane, deliveries = unit.lane, unit.deliveries
    last = lane.last_started
    lane.last_started = deliveries[-1].record.offset
    first = deliveries[0]
    if first.record.offset >= last or first.record.topic != first.topic.name:
        return 0
    return sum(delivery.record.offset < last for delivery in deliveries)
