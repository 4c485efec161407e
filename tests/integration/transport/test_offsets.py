"""Which offsets are committed while records are settled in any order, on a real broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_stack.stack import Stack
from tests.support.processes.transport_worker import Scene
from tests.support.processes.worker_process import wait_for


@pytest.fixture
def scene(stack: Stack, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(stack, tmp_path)
    yield made
    made.end()


@pytest.mark.requirement("Transport", "commits follow the contiguous settled prefix")
def test_a_slow_record_holds_its_offset_and_nothing_else(scene: Scene) -> None:
    """Records after a slow one are settled first. The committed offset waits for the slow one, then jumps."""
    values = [f"v{number}" for number in range(1000)]
    values[100] = "gate-one"  # partition 0, offset 50
    scene.produce(values)
    scene.start()
    wait_for(lambda: len(scene.settled()) == 999, "all but the slow record are settled", 20)
    wait_for(lambda: scene.committed() == [50, 500], "the offset stands at the slow record", 5)
    scene.open_gate()
    wait_for(lambda: scene.committed() == [500, 500], "the offset jumps to the end", 5)
    assert set(scene.settled().values()) == {1}


def test_a_partition_with_nothing_settled_shows_in_the_group(scene: Scene) -> None:
    """The start position is committed at the assignment, and all its records count as lag."""
    scene.produce(["hold-a", "hold-b", "hold-c"], partition=1)
    worker = scene.start()
    wait_for(lambda: len(scene.lines("held")) == 3, "the records are handed over", 20)
    wait_for(lambda: scene.committed() == [0, 0], "start positions are committed", 5)
    wait_for(
        lambda: (
            {(one["partition"], one["current"], one["end"]) for one in worker.state()["lag"]} == {(0, 0, 0), (1, 0, 3)}
        ),
        "the lag of both partitions is known",
        5,
    )
    assert worker.terminate() == 0
    assert scene.committed() == [0, 0]


@pytest.mark.requirement("Transport", "backpressure pauses partitions")
def test_a_full_partition_is_paused_and_goes_on(scene: Scene) -> None:
    """Above `high`, no more records arrive, but the member stays. Below `low`, the rest follows, each record once."""
    scene.produce([f"gate-{number}" for number in range(6000)], partition=0)
    worker = scene.start(TEST_HIGH="100", TEST_LOW="20")
    wait_for(lambda: bool(scene.lines("started")), "work begins", 20)
    wait_for(lambda: worker.state()["activity"][0]["paused"] == 1, "the partition is paused", 5)
    assert not scene.settled()
    started = len(scene.lines("started"))
    assert started < 4500, "a partition has little more than `high` and one round"
    wait_for(
        lambda: {(one["partition"], one["end"]) for one in worker.state()["lag"]} == {(0, 6000), (1, 0)},
        "the end of a paused partition is known",
        8,
    )
    scene.open_gate()
    wait_for(lambda: len(scene.settled()) == 6000, "everything is settled in the end", 30)
    wait_for(lambda: scene.committed() == [6000, 0], "and committed", 5)
    assert set(scene.settled().values()) == {1}
    assert not worker.state()["stalled"]


def test_the_groups_of_a_worker_do_not_hold_each_other(scene: Scene) -> None:
    """One worker, two groups: a full, paused group does not stop the other. Each has its own offsets."""
    other = Scene(scene.stack, scene.folder)
    scene.produce([f"gate-{number}" for number in range(1000)], partition=0)
    worker = scene.start(TEST_TOPICS=f"{scene.topic},{other.topic}", TEST_HIGH="100", TEST_LOW="20")
    wait_for(lambda: bool(scene.lines("started")), "the first group has work", 20)
    wait_for(lambda: worker.state()["activity"][0]["paused"] == 1, "and is full", 5)
    other.produce([f"v{number}" for number in range(1000)])
    wait_for(lambda: other.committed() == [500, 500], "the second group goes on", 10)
    assert scene.committed() == [0, 0]
    scene.open_gate()
    wait_for(lambda: scene.committed() == [1000, 0], "the first follows", 10)
