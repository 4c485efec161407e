"""Workers that join, leave, crash and time out, on a real broker: no record is lost, few are handled twice."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_stack.stack import Stack
from tests.support.processes.transport_worker import Scene
from tests.support.processes.worker_process import wait_for

PROTOCOLS = pytest.mark.parametrize("protocol", ["cooperative", "consumer"])


@pytest.fixture
def scene(stack: Stack, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(stack, tmp_path, partitions=4)
    yield made
    made.end()


@pytest.mark.requirement("Transport", "workers join and leave: nothing lost, nothing repeated")
@PROTOCOLS
def test_workers_that_join_and_leave_lose_and_repeat_nothing(scene: Scene, protocol: str) -> None:
    """A second worker joins, the first stops by SIGTERM. Each record is settled once; the offsets are at the end."""
    first = scene.start(STREAMS_GROUP_PROTOCOL=protocol, TEST_SLOW="0.05")
    scene.wait_assigned(first)
    scene.produce([f"slow-a{number}" for number in range(2000)])
    second = scene.start(STREAMS_GROUP_PROTOCOL=protocol, TEST_SLOW="0.05")
    scene.wait_assigned(first, second)
    scene.produce([f"slow-b{number}" for number in range(2000)])
    wait_for(lambda: len(scene.settled(second)) > 100, "the second works too", 10)
    assert first.terminate() == 0
    scene.wait_assigned(second)
    scene.produce([f"slow-c{number}" for number in range(2000)])
    wait_for(lambda: len(scene.settled()) == 6000, "everything is settled", 15)
    wait_for(lambda: scene.committed() == [1500] * 4, "and committed", 5)
    assert set(scene.settled().values()) == {1}
    assert second.terminate() == 0


@PROTOCOLS
def test_a_partition_that_was_revoked_while_paused_is_read_when_it_comes_back(scene: Scene, protocol: str) -> None:
    """All partitions are full. A second worker gets some of them and stops: the first has them again, and reads on."""
    options = {"STREAMS_GROUP_PROTOCOL": protocol, "STREAMS_REVOKE_DRAIN_TIMEOUT": "0.5s"}
    options |= {"STREAMS_DRAIN_TIMEOUT": "1s", "TEST_HIGH": "100", "TEST_LOW": "20"}
    scene.produce([f"gate-{number}" for number in range(4000)])
    first = scene.start(**options)
    scene.wait_assigned(first)
    wait_for(lambda: first.state()["activity"][0]["paused"] == 4, "all partitions are full", 20)
    second = scene.start(**options)
    scene.wait_assigned(first, second, seconds=30)
    assert second.terminate() == 0
    scene.wait_assigned(first, seconds=30)
    scene.open_gate()
    wait_for(lambda: len(scene.settled()) == 4000, "everything is settled", 30)
    wait_for(lambda: scene.committed() == [1000] * 4, "and committed", 5)


@PROTOCOLS
def test_a_worker_with_nothing_to_assign_is_a_member(scene: Scene, protocol: str) -> None:
    """More workers than partitions: the one without a partition reports that it is assigned, as a standby."""
    scene = Scene(scene.stack, scene.folder, partitions=1, workers=scene.workers)
    workers = [scene.start(STREAMS_GROUP_PROTOCOL=protocol) for _ in range(2)]
    for worker in workers:
        wait_for(lambda: bool(scene.lines("tick", worker)), "it is up", 20)  # noqa: B023 - called at once
    wait_for(lambda: all(worker.state()["assigned"] for worker in workers), "both are members", 20)
    owned = [worker.state()["activity"][0]["owned"] for worker in workers]
    assert sorted(owned) == [0, 1]


def test_a_killed_worker_repeats_only_what_was_unsettled(scene: Scene) -> None:
    """After SIGKILL, the next worker gets the records above the committed prefix again, and no others."""
    values = [f"v{number}" for number in range(400)]
    values[200] = "hold-me"  # partition 0, offset 50
    scene.produce(values)
    returning = {
        "STREAMS_GROUP_PROTOCOL": "cooperative",
        "STREAMS_KAFKA_CONFIG": json.dumps({"group.instance.id": "pod-0"}),  # so that it need not wait for the session
    }
    first = scene.start(**returning)
    wait_for(lambda: len(scene.settled()) == 399, "all but one are settled", 20)
    wait_for(lambda: scene.committed() == [50, 100, 100, 100], "committed up to the held record", 5)
    first.kill()
    second = scene.start(**returning)
    wait_for(lambda: len(scene.lines("held", second)) == 1, "the held record comes again", 30)
    wait_for(lambda: len(scene.settled(second)) == 49, "with those after it", 5)
    assert {line["partition"] for line in scene.lines("settled", second)} == {0}


@pytest.mark.requirement("Transport", "late acknowledgements are fenced")
def test_work_that_outlasts_its_partition_cannot_settle_it(scene: Scene) -> None:
    """After the time limit, the partition is revoked. The old owner's settlement is ignored; the new one repeats it."""
    first = scene.start(STREAMS_REVOKE_DRAIN_TIMEOUT="0.5s")
    scene.wait_assigned(first)
    scene.produce([f"gate-{number}" for number in range(4)])
    wait_for(lambda: len(scene.lines("started", first)) == 4, "the first worker is at it", 10)
    second = scene.start()
    scene.wait_assigned(first, second)
    moved = {tuple(place) for line in scene.lines("revoked", first) for place in line["places"]}
    assert len(moved) == 2
    scene.open_gate()
    wait_for(lambda: len(scene.settled(second)) == 2, "the new owner does the moved records again", 10)
    wait_for(lambda: len(scene.lines("late", first)) == 2, "the old owner is late for them", 10)
    wait_for(lambda: first.state()["activity"][0]["late"] == 2, "and they are counted", 2)
    wait_for(lambda: scene.committed() == [1] * 4, "every offset is at the end, once", 5)


@pytest.mark.requirement("Transport", "late acknowledgements are fenced")
def test_a_frozen_worker_that_wakes_is_fenced(scene: Scene) -> None:
    """A worker that was stopped for longer than its session loses its partitions. Its later settlements are ignored."""
    short = {
        "STREAMS_GROUP_PROTOCOL": "cooperative",
        "STREAMS_KAFKA_CONFIG": json.dumps({"session.timeout.ms": "6000", "heartbeat.interval.ms": "1000"}),
    }
    first = scene.start(**short)
    scene.wait_assigned(first)
    scene.produce([f"gate-{number}" for number in range(4)])
    wait_for(lambda: len(scene.lines("started", first)) == 4, "the first worker is at it", 10)
    first.process.send_signal(signal.SIGSTOP)
    try:
        second = scene.start(**short)
        wait_for(lambda: len(scene.lines("started", second)) == 4, "the second takes over", 30)
        scene.open_gate()
        wait_for(lambda: len(scene.settled(second)) == 4, "and does it", 10)
        wait_for(lambda: scene.committed() == [1] * 4, "and commits", 20)
    finally:
        first.process.send_signal(signal.SIGCONT)
    scene.wait_assigned(first, second, seconds=30)
    # It may settle just before it learns that its partitions are lost: then the broker rejects the commit.
    wait_for(lambda: first.state()["activity"][0]["lost"] == 4, "the first has lost them all", 20)
    wait_for(lambda: len(scene.lines("settled", first)) + len(scene.lines("late", first)) >= 4, "and ended them", 20)
    assert scene.committed() == [1] * 4
