"""A partition during many assignments, compared with a model: which offsets are committed in any order of operations.

For every interleaving of delivery, settlement, commit, revocation, reassignment and late settlement, this must hold:
no offset is committed past a record that was not settled in time; a prefix that is settled without a gap is committed
at the next commit; a record is delivered again only if its settlement was not committed.
"""

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.transport.kafka.group import Group
from streams.transport.kafka.partition import PartitionState
from streams.transport.kafka.records import Assignment, Record

GROUP = Group("high", "streams.high", ("a",), high=50, low=10)
Choice = strategies.randoms(use_true_random=False)


class PartitionOverAssignments(RuleBasedStateMachine):
    """The broker's side is the end of the log and one committed offset. The worker's side is the real code."""

    def __init__(self) -> None:
        super().__init__()
        self.end = 0
        self.committed = 0
        self.position = 0
        self.settled_in_time: set[int] = set()
        self.held: PartitionState | None = None
        self.former: list[tuple[Assignment, list[int]]] = []
        self.handed: list[int] = []
        self.settled_here: set[int] = set()
        self.late = 0

    def count_late(self) -> None:
        self.late += 1

    @property
    def open(self) -> list[int]:
        return [] if self.held is None else [offset for offset in self.handed if offset not in self.settled_here]

    @rule(count=strategies.integers(1, 10))
    def produce(self, count: int) -> None:
        self.end += count

    @precondition(lambda self: self.held is None)
    @rule()
    def assign(self) -> None:
        self.held = PartitionState(Assignment("a", 0, GROUP.group_id, self.count_late), GROUP, committed=self.committed)
        self.position = self.committed
        self.handed, self.settled_here = [], set()

    @precondition(lambda self: self.held is not None and self.position < self.end)
    @rule(count=strategies.integers(1, 10))
    def deliver(self, count: int) -> None:
        assert self.held is not None
        last = min(self.end, self.position + count)
        records = [Record("a", 0, offset, 0, "CreateTime", None, None, ()) for offset in range(self.position, last)]
        self.held.posted += len(records)
        self.held.assignment.deliver(records)
        self.handed += [record.offset for record in records]
        self.position = last

    @precondition(lambda self: self.open)
    @rule(choice=Choice, together=strategies.booleans())
    def settle(self, choice, together) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - hypothesis gives its own Random
        assert self.held is not None
        chosen = choice.sample(self.open, choice.randint(1, len(self.open)))
        if together:
            self.held.assignment.settle_all(chosen)
        else:
            for offset in chosen:
                self.held.assignment.settle(offset)
        self.settled_here.update(chosen)
        self.settled_in_time.update(chosen)

    @precondition(lambda self: self.held is not None)
    @rule(arrives=strategies.booleans())
    def commit(self, arrives: bool) -> None:  # noqa: FBT001 - hypothesis calls by name
        """The broker confirms the commit, or it is lost and sent again later."""
        assert self.held is not None
        offset = self.held.offset_to_commit()
        if offset is not None and arrives:
            self.committed = self.held.committed = offset

    @precondition(lambda self: self.held is not None)
    @rule(committed_first=strategies.booleans())
    def revoke(self, committed_first: bool) -> None:  # noqa: FBT001 - as above
        """With the last commit, as in a rebalance, or without it, as for a worker without a connection."""
        assert self.held is not None
        self.held.assignment.revoked = True
        if committed_first and (offset := self.held.offset_to_commit()) is not None:
            self.committed = offset
        self.former.append((self.held.assignment, self.handed))
        self.held = None

    @precondition(lambda self: any(handed for _, handed in self.former))
    @rule(choice=Choice, together=strategies.booleans())
    def acknowledge_late(self, choice, together) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as above
        """The former owner settles its remaining records: this is ignored and counted."""
        assignment, handed = choice.choice([one for one in self.former if one[1]])
        before, late = assignment.committable, self.late
        offset = choice.choice(handed)
        if together:
            assignment.settle_all([offset])
        else:
            assignment.settle(offset)
        assert assignment.committable == before
        assert self.late == late + 1

    @invariant()
    def nothing_is_committed_that_was_not_settled_in_time(self) -> None:
        assert set(range(self.committed)) <= self.settled_in_time

    @invariant()
    def what_is_settled_without_a_gap_can_be_committed(self) -> None:
        if self.held is None:
            return
        offset = self.held.offset_to_commit()
        reached = self.held.committed if offset is None else offset
        assert reached == (self.open[0] if self.open else self.position)

    @invariant()
    def what_is_outstanding_is_what_is_open(self) -> None:
        if self.held is not None:
            assert self.held.outstanding == self.held.assignment.unsettled == len(self.open)


TestPartitionOverAssignments = pytest.mark.requirement(
    "Faults and operations",
    "offsets: any interleaving of delivery, settlement, commit, revocation, reassignment, late acknowledgement",
)(PartitionOverAssignments.TestCase)
TestPartitionOverAssignments.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
