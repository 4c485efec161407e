"""Lanes: which delivery runs next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.scheduling.lanes import Lanes, Unit
from streams.transport.kafka.records import Assignment
from tests.support.factories import a_delivery, a_handler


def drain(lanes: Lanes) -> list[str]:
    """Run the units one by one; return their keys and offsets in order."""
    ran = []
    while (unit := lanes.take()) is not None:
        ran.append(" ".join(f"{delivery.key.decode()}@{delivery.record.offset}" for delivery in unit.deliveries))
        lanes.done(unit)
    return ran


@pytest.mark.requirement("Delivery", "lanes by key, in turn between topics and tenants")
def test_deliveries_of_one_key_run_one_at_a_time_in_offset_order() -> None:
    lanes = Lanes()
    for offset in range(3):
        lanes.add(a_delivery("d1", offset=offset))
    first = lanes.take()
    assert first is not None
    assert first.deliveries[0].record.offset == 0
    assert lanes.take() is None
    lanes.done(first)
    assert drain(lanes) == ["d1@1", "d1@2"]


def test_other_keys_run_while_one_key_is_busy() -> None:
    lanes = Lanes()
    lanes.add(a_delivery("slow", offset=0))
    running = lanes.take()
    lanes.add(a_delivery("slow", offset=1))
    lanes.add(a_delivery("quick", offset=2))
    assert drain(lanes) == ["quick@2"]
    assert running is not None
    lanes.done(running)
    assert drain(lanes) == ["slow@1"]


def test_the_same_key_on_other_handlers_or_partitions_is_another_lane() -> None:
    lanes = Lanes()
    lanes.add(a_delivery("d1", offset=0))
    lanes.add(a_delivery("d1", offset=0, handler=a_handler("index-document")))
    lanes.add(a_delivery("d1", offset=0, partition=1))
    assert len([unit for _ in range(3) if (unit := lanes.take()) is not None]) == 3


@pytest.mark.requirement("Delivery", "lanes by key, in turn between topics and tenants")
def test_topics_then_tenants_are_served_in_turn() -> None:
    lanes = Lanes()
    for offset in range(4):
        lanes.add(a_delivery(f"flood{offset}", offset=offset, tenant="big"))
    lanes.add(a_delivery("small", offset=9, tenant="small"))
    lanes.add(a_delivery("other", offset=1, topic="dataset.deleted", tenant="big"))
    assert drain(lanes)[:3] == ["flood0@0", "other@1", "small@9"]


def test_a_batch_handler_takes_its_partition_s_events_as_one_list_up_to_its_size() -> None:
    lanes = Lanes()
    handler = a_handler(kind="batch", batch_size=3)
    for offset in range(5):
        lanes.add(a_delivery(f"d{offset}", offset=offset, tenant=f"t{offset}", handler=handler))
    assert drain(lanes) == ["d0@0 d1@1 d2@2", "d3@3 d4@4"]


def test_deliveries_of_revoked_partitions_are_discarded_and_the_others_run() -> None:
    lanes = Lanes()
    gone, kept = Assignment("document.deleted", 0), Assignment("document.deleted", 1)
    lanes.add(a_delivery("d1", offset=0, assignment=gone))
    lanes.add(a_delivery("d2", offset=1, assignment=gone))
    lanes.add(a_delivery("d3", offset=0, partition=1, assignment=kept))
    assert lanes.discard(lambda delivery: delivery.assignment is gone) == 2
    assert lanes.waiting == 1
    assert drain(lanes) == ["d3@0"]


@pytest.mark.requirement(
    "Delivery",
    "a flooding tenant is moved aside: another's work, published after 5,000, is done within 5 s",
)
def test_a_tenant_s_deliveries_past_its_share_are_not_put() -> None:
    """The share is per partition and tenant. It becomes free again as deliveries run."""
    lanes = Lanes(tenant_share=2)
    flood = [a_delivery(f"d{offset}", offset=offset, tenant="big") for offset in range(4)]
    assert lanes.add_all(flood) == flood[2:]
    assert lanes.add_all([a_delivery("d", offset=9, tenant="small")]) == []
    assert lanes.add_all([a_delivery("d", offset=0, tenant="big", partition=1)]) == []
    assert lanes.take() is not None
    assert lanes.add_all(flood[2:3]) == []
    assert lanes.add_all(flood[3:]) == flood[3:]
    lanes.discard(lambda delivery: delivery.event.tenant_id == "big")
    assert lanes.add_all(flood[:3]) == flood[2:3]


@pytest.mark.requirement(
    "Delivery",
    "a flooding tenant is moved aside: another's work, published after 5,000, is done within 5 s",
)
def test_what_is_aside_gets_one_turn_in_four() -> None:
    """Low-priority topics get every turn while no other topic is ready."""
    lanes = Lanes(low_priority=["dataset.deleted"])
    for offset in range(5):
        lanes.add(a_delivery(f"aside{offset}", offset=offset, topic="dataset.deleted"))
    for offset in range(6):
        lanes.add(a_delivery(f"line{offset}", offset=offset))
    ran = [name[:4] for name in drain(lanes)]
    assert ran == ["line", "line", "line", "asid", "line", "line", "line", "asid", "asid", "asid", "asid"]


@pytest.mark.requirement(
    "Faults and operations",
    "pure parts by properties: offset prefix, lanes, retry plan, splitting",
)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["t1", "t2", None]), st.integers(0, 1), st.booleans()))
)
def test_every_delivery_runs_once_and_in_the_order_of_its_lane(
    plan: list[tuple[str, str | None, int, bool]],
) -> None:
    """In any interleaving no delivery is lost, runs twice, or runs at the same time as another one of its lane."""
    lanes, running, ran = Lanes(), list[Unit](), list[tuple[int, str, int]]()
    for offset, (key, tenant, partition, also_finish) in enumerate(plan):
        lanes.add(a_delivery(key, offset=offset, tenant=tenant, partition=partition))
        unit = lanes.take()
        if unit is not None:
            assert unit.lane.key not in [other.lane.key for other in running]
            running.append(unit)
        if also_finish and running:
            finish(lanes, running.pop(0), ran)
    while running or lanes.waiting:
        if running:
            finish(lanes, running.pop(), ran)
        while (unit := lanes.take()) is not None:
            running.append(unit)
    assert len(ran) == len(plan)
    for lane in {(partition, key) for partition, key, _ in ran}:
        offsets = [offset for partition, key, offset in ran if (partition, key) == lane]
        assert offsets == sorted(offsets)


def finish(lanes: Lanes, unit: Unit, ran: list[tuple[int, str, int]]) -> None:
    delivery = unit.deliveries[0]
    ran.append((delivery.record.partition, delivery.key.decode(), delivery.record.offset))
    lanes.done(unit)


def test_a_handler_with_a_limit_of_its_own_leaves_the_other_slots_to_others() -> None:
    lanes = Lanes({"clean-document": 1})
    lanes.add(a_delivery("d1", offset=0))
    lanes.add(a_delivery("d2", offset=1))
    lanes.add(a_delivery("d3", offset=2, handler=a_handler("index-document")))
    first, second = lanes.take(), lanes.take()
    assert first is not None
    assert second is not None
    assert (first.handler.name, second.handler.name) == ("clean-document", "index-document")
    assert lanes.take() is None
    lanes.done(first)
    assert drain(lanes) == ["d2@1"]


def test_blocked_lanes_wait_for_their_release_and_others_run() -> None:
    held = {"index-document"}
    lanes = Lanes(stays_queued=lambda delivery: delivery.handler.name in held)
    for offset in range(2):
        lanes.add(a_delivery("d1", offset=offset, handler=a_handler("index-document")))
    lanes.add(a_delivery("d2", offset=2))
    assert drain(lanes) == ["d2@2"]
    assert lanes.waiting == 2
    lanes.release()
    assert drain(lanes) == []
    held.clear()
    assert drain(lanes) == []
    lanes.release()
    assert drain(lanes) == ["d1@0", "d1@1"]
