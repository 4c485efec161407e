"""The settled prefix compared with a simple model, in any order of deliveries, settlements and gaps."""

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.transport.kafka.offset_tracker import OffsetTracker


class PrefixAgainstModel(RuleBasedStateMachine):
    """The model keeps every delivered and every settled offset, and reads all of them each time."""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = OffsetTracker()
        self.delivered: list[int] = []
        self.settled: set[int] = set()
        self.timestamps: dict[int, int] = {}
        self.highest: int | None = None

    @property
    def open(self) -> list[int]:
        return [offset for offset in self.delivered if offset not in self.settled]

    @rule(gap=strategies.integers(1, 5), count=strategies.integers(1, 8), timestamp=strategies.integers(-1, 10**13))
    def deliver(self, gap: int, count: int, timestamp: int) -> None:
        for _ in range(count):
            offset = (self.delivered[-1] if self.delivered else -1) + gap
            self.prefix.deliver(offset, timestamp)
            self.delivered.append(offset)
            self.timestamps[offset] = timestamp

    @precondition(lambda self: self.open)
    @rule(choice=strategies.randoms(use_true_random=False))
    def settle(self, choice) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - hypothesis gives its own Random
        offset = choice.choice(self.open)
        assert self.prefix.settle(offset) is True
        self.settled.add(offset)

    @precondition(lambda self: self.open)
    @rule(choice=strategies.randoms(use_true_random=False), share=strategies.floats(0, 1))
    def settle_several(self, choice, share) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as above
        chosen = [offset for offset in self.delivered if choice.random() < share]
        assert self.prefix.settle_all(chosen) == len(set(chosen) - self.settled)
        self.settled.update(chosen)

    @precondition(lambda self: self.settled)
    @rule(choice=strategies.randoms(use_true_random=False))
    def settle_again(self, choice) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as above
        assert self.prefix.settle(choice.choice(sorted(self.settled))) is False

    @rule(ahead=strategies.integers(1, 5))
    def settle_what_never_came(self, ahead: int) -> None:
        with pytest.raises(ValueError, match="never delivered"):
            self.prefix.settle((self.delivered[-1] if self.delivered else -1) + ahead)

    @precondition(lambda self: self.delivered)
    @rule(back=strategies.integers(0, 5))
    def deliver_backwards(self, back: int) -> None:
        with pytest.raises(ValueError, match="comes after"):
            self.prefix.deliver(self.delivered[-1] - back, 0)

    @invariant()
    def is_the_end_of_the_settled_prefix(self) -> None:
        before_first_open = self.delivered[: self.delivered.index(self.open[0])] if self.open else self.delivered
        expected = before_first_open[-1] + 1 if before_first_open else None
        assert self.prefix.committable == expected
        assert self.prefix.unsettled == len(self.open)

    @invariant()
    def knows_the_time_of_the_record_that_holds_the_offset(self) -> None:
        assert self.prefix.holder_timestamp == (self.timestamps[self.open[0]] if self.open else None)

    @invariant()
    def never_goes_back(self) -> None:
        now = self.prefix.committable
        assert self.highest is None or (now is not None and now >= self.highest)
        self.highest = now


TestPrefixAgainstModel = pytest.mark.requirement(
    "Faults and operations",
    "pure parts by properties: offset prefix, lanes, retry plan, splitting",
)(pytest.mark.requirement("Transport", "commits follow the contiguous settled prefix")(PrefixAgainstModel.TestCase))
TestPrefixAgainstModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_nothing_settled_gives_nothing_to_commit() -> None:
    prefix = OffsetTracker()
    assert prefix.committable is None
    prefix.deliver(7, 0)
    assert prefix.committable is None


def test_the_last_settlement_releases_all_that_waited() -> None:
    prefix = OffsetTracker()
    for offset in (3, 4, 9):
        prefix.deliver(offset, 0)
    prefix.settle(9)
    prefix.settle(4)
    assert prefix.committable is None
    prefix.settle(3)
    assert prefix.committable == 10
