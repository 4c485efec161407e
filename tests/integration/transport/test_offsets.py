"""Which offsets are committed while records are settled in any order, on a real broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_stack.stack import Stack
from tests.support.processes.transport_worker import Scene, wait_until


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
    wait_until(lambda: len(scene.settled()) == 999, 20, "all but the slow record are settled")
    wait_until(lambda: scene.committed() == [50, 500], 5, "the offset stands at the slow record")
    scene.open_gate()
    wait_until(lambda: scene.committed() == [500, 500], 5, "the offset jumps to the end")
    assert set(scene.settled().values()) == {1}


def test_a_partition_with_nothing_settled_shows_in_the_group(scene: Scene) -> None:
    """The start position is committed at the assignment, and all its records count as lag."""
    scene.produce(["hold-a", "hold-b", "hold-c"], partition=1)
    worker = scene.start()
    wait_until(lambda: len(scene.lines("held")) == 3, 20, "the records are handed over")
    wait_until(lambda: scene.committed() == [0, 0], 5, "start positions are committed")
    wait_until(
        lambda: (
            {(one["partition"], one["current"], one["end"]) for one in worker.state()["lag"]} == {(0, 0, 0), (1, 0, 3)}
        ),
        5,
        "the lag of both partitions is known",
    )
    assert worker.terminate() == 0
    assert scene.committed() == [0, 0]


@pytest.mark.requirement("Transport", "backpressure pauses partitions")
def test_a_full_partition_is_paused_and_goes_on(scene: Scene) -> None:
    """Above `high`, no more records arrive, but the member stays. Below `low`, the rest follows, each record once."""
    scene.produce([f"gate-{number}" for number in range(6000)], partition=0)
    worker = scene.start(TEST_HIGH="100", TEST_LOW="20")
    wait_until(lambda: bool(scene.lines("started")), 20, "work begins")
    wait_until(lambda: worker.state()["activity"][0]["paused"] == 1, 5, "the partition is paused")
    assert not scene.settled()
    started = len(scene.lines("started"))
    assert started < 4500, "a partition has little more than `high` and one round"
    wait_until(
        lambda: {(one["partition"], one["end"]) for one in worker.state()["lag"]} == {(0, 6000), (1, 0)},
        8,
        "the end of a paused partition is known",
    )
    scene.open_gate()
    wait_until(lambda: len(scene.settled()) == 6000, 30, "everything is settled in the end")
    wait_until(lambda: scene.committed() == [6000, 0], 5, "and committed")
    assert set(scene.settled().values()) == {1}
    assert not worker.state()["stalled"]


def test_the_groups_of_a_worker_do_not_hold_each_other(scene: Scene) -> None:
    """One worker, two groups: a full, paused group does not stop the other. Each has its own offsets."""
    other = Scene(scene.stack, scene.folder)
    scene.produce([f"gate-{number}" for number in range(1000)], partition=0)
    worker = scene.start(TEST_TOPICS=f"{scene.topic},{other.topic}", TEST_HIGH="100", TEST_LOW="20")
    wait_until(lambda: bool(scene.lines("started")), 20, "the first group has work")
    wait_until(lambda: worker.state()["activity"][0]["paused"] == 1, 5, "and is full")
    other.produce([f"v{number}" for number in range(1000)])
    wait_until(lambda: other.committed() == [500, 500], 10, "the second group goes on")
    assert scene.committed() == [0, 0]
    scene.open_gate()
    wait_until(lambda: scene.committed() == [1000, 0], 10, "the first follows")
