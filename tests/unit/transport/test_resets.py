"""How reading continues where the log has no record at the position."""

import pytest
from hypothesis import given
from hypothesis.strategies import integers

from streams.transport.kafka.group import Group
from streams.transport.kafka.partition import PartitionState
from streams.transport.kafka.partitions.resets import Reset, reset_of
from streams.transport.kafka.records import Assignment, Record

GROUP = Group("high", "streams.high", ("a",))
OFFSETS = integers(0, 2**63 - 1)


@pytest.mark.requirement("Faults of others", "c03: a topic is deleted and created again under a running worker")
@given(position=OFFSETS, first=OFFSETS, length=integers(0, 1000))
def test_no_record_of_the_log_is_skipped(position: int, first: int, length: int) -> None:
    """Every record from the position on is read. What is before it is read again only if the log is another one."""
    reset = reset_of(position, first, first + length)
    assert first <= reset.offset <= first + length
    assert reset.offset <= max(position, first)
    assert reset.begins_again == (position > first + length)
    assert reset.lost == max(0, first - position)


def test_a_position_in_the_log_stays() -> None:
    """The broker was wrong for a moment."""
    assert reset_of(7, 0, 9) == Reset(7)


@pytest.mark.requirement("Faults of others", "c02: control and aborted records are no lag")
def test_the_position_after_control_records_is_committed() -> None:
    """It is used where it is above the settled prefix, and never moves the offset back."""
    state = PartitionState(Assignment("a", 0), GROUP, committed=3)
    state.assignment.deliver([Record("a", 0, 3, 0, "CreateTime", None, None, ())])
    state.assignment.settle(3)
    assert state.offset_to_commit() == 4
    state.position = 9
    assert state.offset_to_commit() == 9
    state.committed = 9
    assert state.offset_to_commit() is None
    state.probe = True
    assert state.offset_to_commit() == 9


def test_an_unknown_start_is_that_of_the_first_record() -> None:
    """So the crash-loop guard and the lag know it."""
    state = PartitionState(Assignment("a", 0), GROUP)
    state.post([Record("a", 0, 5, 0, "CreateTime", None, None, ())])
    assert (state.start, state.assignment.start, state.last) == (5, 5, 5)
