"""What is repeated: the first ones pass, the others are counted, and none of them is forgotten."""

from collections import Counter, defaultdict
from collections.abc import Hashable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.observability.repeats import LeftOut, Repeats

OFFERS = st.lists(st.tuples(st.floats(0, 0.7), st.integers(0, 5), st.booleans()), max_size=120)
"""Seconds since the one before, the kind, and whether somebody asks for what has ended."""


def add(counted: Counter[Hashable], ended: list[LeftOut[str]]) -> None:
    for one in ended:
        counted[one.kind] += one.count


@pytest.mark.requirement("Logs", "the same error more than ten times a second is one line with a count, none is lost")
@given(offers=OFFERS, passes=st.integers(1, 4), kinds=st.integers(1, 4))
def test_each_one_passes_or_is_counted_once(offers: list[tuple[float, int, bool]], passes: int, kinds: int) -> None:
    """Whatever comes when: passed and left out make the sum, of each kind where it has its own count."""
    repeats, now = Repeats[str](passes, 1.0, kinds), 0.0
    offered, passed, counted = Counter[Hashable](), Counter[Hashable](), Counter[Hashable]()
    times: defaultdict[int, list[float]] = defaultdict(list)
    for pause, kind, asks in offers:
        now += pause
        offered[kind] += 1
        if repeats.admit(kind, now, partial(str, kind)):
            passed[kind] += 1
            times[kind].append(now)
        assert len(repeats._windows) <= kinds + 1
        if asks:
            add(counted, repeats.ended(now))
    add(counted, repeats.ended(now + 1.0))

    assert sum(offered.values()) == sum(passed.values()) + sum(counted.values())
    assert all(passed[kind] + counted[kind] <= offered[kind] for kind in offered)
    assert repeats.next_end is None
    for moments in times.values():
        # One window can begin where the one before ends, and once more if the shared window lets some pass.
        assert all(sum(start <= one < start + 1.0 for one in moments) <= 3 * passes for start in moments)


def test_a_window_starts_with_the_first_and_ends_after_its_length() -> None:
    repeats = Repeats[str](2, 1.0, 10)
    assert [repeats.admit("a", now, lambda: "first left out") for now in (5.0, 5.1, 5.2, 5.9)] == [
        True,
        True,
        False,
        False,
    ]
    assert repeats.next_end == 6.0
    assert repeats.ended(5.99) == []
    (left_out,) = repeats.ended(6.0)
    assert (left_out.kind, left_out.count, left_out.first) == ("a", 2, "first left out")
    assert repeats.ended(7.0) == []
    assert repeats.admit("a", 7.0, lambda: "not called")


def test_kinds_beyond_the_limit_share_one_count() -> None:
    repeats = Repeats[int](1, 1.0, 3)
    admitted = [repeats.admit(kind, 0.0, partial(int, kind)) for kind in range(10)]
    assert admitted == [True] * 4 + [False] * 6
    (left_out,) = repeats.ended(1.0)
    assert (left_out.kind, left_out.count, left_out.first) == (None, 6, 4)
