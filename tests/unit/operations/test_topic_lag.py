"""The lag of topics and its rates, from snapshots of partitions."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.observability.metrics import Lag
from streams.operations.topic_lag import LagSnapshot, topic_lags

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def place(partition: int, current: int, end: int, topic: str = "t", group: str = "g") -> Lag:
    return Lag(group, topic, partition, current_offset=current, end_offset=end, lag=end - current)


@pytest.mark.requirement(
    "Output of commands",
    "`lag`: one line per topic with total, oldest and rate, only what has lag unless `--all`",
)
def test_partitions_are_added_up_by_group_and_topic() -> None:
    snapshot = LagSnapshot(1.0, [place(0, 1, 5), place(1, 2, 2), place(0, 0, 7, "u"), place(2, 0, 1)])
    found = topic_lags(snapshot)
    assert [(one.topic, one.lag, one.partitions) for one in found] == [("t", 5, 2), ("u", 7, 1)]


def test_without_an_earlier_snapshot_there_is_no_rate() -> None:
    (one,) = topic_lags(LagSnapshot(1.0, [place(0, 1, 5)]))
    assert (one.settled_per_second, one.published_per_second, one.oldest) == (None, None, None)


def test_rates_are_what_moved_in_a_second() -> None:
    before = LagSnapshot(10.0, [place(0, 0, 50), place(1, 10, 10)])
    now = LagSnapshot(12.0, [place(0, 30, 50), place(1, 10, 20)])
    (one,) = topic_lags(now, before)
    assert (one.settled_per_second, one.published_per_second) == (15.0, 5.0)


def test_an_offset_that_went_back_settles_nothing() -> None:
    """The group was reset, or the topic was created again. The other partition still counts."""
    before = LagSnapshot(10.0, [place(0, 40, 50), place(1, 0, 10)])
    now = LagSnapshot(11.0, [place(0, 0, 5), place(1, 4, 10)])
    (one,) = topic_lags(now, before)
    assert (one.settled_per_second, one.published_per_second) == (4.0, 0.0)


def test_a_partition_that_is_new_has_no_rate_yet() -> None:
    """Otherwise all of its records would count as published since the earlier snapshot."""
    (one,) = topic_lags(LagSnapshot(11.0, [place(1, 500, 900)]), LagSnapshot(10.0, [place(0, 0, 0)]))
    assert (one.settled_per_second, one.published_per_second) == (None, None)


def test_the_oldest_is_that_of_any_partition_of_the_topic() -> None:
    oldest = {("t", 0): NOW, ("t", 1): NOW - timedelta(hours=1), ("u", 0): NOW - timedelta(days=1)}
    first, second, third = topic_lags(
        LagSnapshot(1.0, [place(0, 0, 1), place(1, 0, 1), place(0, 0, 1, "u"), place(0, 0, 1, "v")]), oldest=oldest
    )
    assert (first.oldest, second.oldest, third.oldest) == (NOW - timedelta(hours=1), NOW - timedelta(days=1), None)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=6))
def test_rates_are_never_negative_and_totals_are_the_sum(moves: list[tuple[int, int, int]]) -> None:
    before = LagSnapshot(0.0, [place(number, start, start + 100) for number, (start, _, _) in enumerate(moves)])
    now = LagSnapshot(2.0, [place(number, current, current + lag) for number, (_, current, lag) in enumerate(moves)])
    (one,) = topic_lags(now, before)
    assert one.lag == sum(lag for _, _, lag in moves)
    assert one.settled_per_second is not None
    assert one.settled_per_second >= 0
