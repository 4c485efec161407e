"""The sentinel for the order of keys: silent while lanes do what they promise, loud if one number is out of order."""

from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies

from streams.delivery.delivery import Delivery
from streams.delivery.scheduling.lanes import Lanes, Unit
from streams.delivery.scheduling.start_order import late_additions, late_starts
from streams.transport.kafka.records import Assignment
from tests.support.factories import a_delivery, a_handler

KINDS = {"single": a_handler(), "batch": a_handler("index-document", kind="batch", batch_size=3)}
KEYS = ("a", "b", "c")
TIER = "streams.default.retry.10s"


def partition_of(keys: list[str], kind: str, *, topic: str = "document.deleted") -> list[Delivery]:
    """Return the deliveries of one partition, in offset order."""
    assignment = Assignment(topic, 0)
    handler = KINDS[kind]
    return [
        a_delivery(key, offset=offset, handler=handler, assignment=assignment, topic=topic)
        for offset, key in enumerate(keys)
    ]


@pytest.mark.requirement("Logs and metrics", "deliveries of a key that start out of their order: 0 outside retries")
@given(
    keys=strategies.lists(strategies.sampled_from(KEYS), max_size=30),
    kind=strategies.sampled_from(sorted(KINDS)),
    choice=strategies.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_lanes_start_every_key_in_order(keys, kind, choice) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - hypothesis gives its own Random
    """Chunks of any size, units that end in any order: nothing is counted, and each key starts in offset order."""
    waiting, running = partition_of(keys, kind), list[Unit]()
    lanes, started = Lanes(), dict[str, list[int]]()
    while waiting or running or lanes.waiting:
        step = choice.choice(["add", "take", "end"])
        if step == "add" and waiting:
            size = choice.randint(1, len(waiting))
            assert late_additions(waiting[:size]) == 0
            assert lanes.add_all(waiting[:size]) == []
            del waiting[:size]
        elif step == "take" and (unit := lanes.take()) is not None:
            assert late_starts(unit) == 0
            for delivery in unit.deliveries:
                started.setdefault(delivery.key.decode(), []).append(delivery.record.offset)
            running.append(unit)
        elif step == "end" and running:
            lanes.done(running.pop(choice.randrange(len(running))))
    assert sum(map(len, started.values())) == len(keys)
    assert all(before < after for offsets in started.values() for before, after in pairwise(offsets))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_lane_that_starts_an_earlier_offset_is_found(kind: str) -> None:
    first, second, third = partition_of(["a", "a", "a"], kind)
    lanes = Lanes()
    lanes.add_all([second, first, third])
    found = []
    while (unit := lanes.take()) is not None:
        single = [Unit(unit.lane, unit.handler, [delivery]) for delivery in unit.deliveries]
        found += [late_starts(one) for one in single]
        lanes.done(unit)
    assert found == [0, 1, 0]


def test_a_chunk_that_comes_after_a_later_one_is_found() -> None:
    """Its lane may be forgotten already, so it is found when it is added."""
    deliveries = partition_of(["a", "b", "a", "a"], "single")
    assert late_additions(deliveries[2:]) == 0
    assert late_additions(deliveries[:2]) == 2
    assert late_additions(deliveries[3:]) == 0
    assert late_additions([]) == 0


def test_retry_tiers_have_no_order() -> None:
    first, second = partition_of(["a", "a"], "single", topic=TIER)
    lanes = Lanes()
    lanes.add(second)
    lanes.add(first)
    for _ in range(2):
        unit = lanes.take()
        assert unit is not None
        assert late_starts(unit) == 0
        lanes.done(unit)
