"""A partition starts over once for each time that its topic is created again."""

from collections.abc import Collection
from typing import cast
from unittest.mock import Mock

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.settings import Settings
from streams.transport.kafka.group import Group
from streams.transport.kafka.partitions import positions as positions_module
from streams.transport.kafka.partitions.positions import BEGUN_AGAIN_SECONDS, Positions
from streams.transport.kafka.rebalance import Rebalance
from tests.support.kafka_records import Answer

GROUP = Group("high", "streams.high", ("a",), high=50, low=10)
PARTITION = TopicPartition("a", 0)
COMMITTED = 50


class Ids:
    """Reports once that the id of a topic has changed."""

    def __init__(self, _: Settings) -> None:
        self.new: list[str] = []

    def changed(self, _: float, topics: Collection[str]) -> list[str]:
        assert topics == {"a"}
        found, self.new = self.new, []
        return found


class Place:
    """One partition that is read from COMMITTED, on a log that has that position."""

    def __init__(self) -> None:
        self.consumer = Mock(
            committed=Mock(return_value=[Answer("a", 0, COMMITTED)]),
            get_watermark_offsets=Mock(return_value=(0, 100)),
            position=Mock(return_value=[Answer("a", 0, -1)]),
        )
        self.rebalance = Rebalance(GROUP, Settings(), Mock(), Mock())
        self.rebalance.on_assign(self.consumer, [PARTITION])
        self.positions = Positions(GROUP, Settings(), self.rebalance)

    def refresh(self, now: float, *, new_id: bool = False) -> bool:
        """Return whether the partition started over."""
        cast("Ids", self.positions._ids).new = ["a"] if new_id else []
        before = self.rebalance.find("a", 0)
        self.positions.refresh(cast("Consumer", self.consumer), now)
        return self.rebalance.find("a", 0) is not before

    def shorten(self, now: float) -> None:
        """Let the log end before the position, as after an election or in a new topic."""
        self.consumer.get_watermark_offsets.return_value = (0, 3)
        self.positions.reset("a", 0, COMMITTED)
        assert self.refresh(now)
        self.consumer.get_watermark_offsets.return_value = (0, 100)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(positions_module, "TopicIds", Ids)
    return Place()


def test_a_new_topic_whose_position_is_gone_starts_over_once(place: Place) -> None:
    """Its id becomes known a little later. The topic may be created again after that."""
    place.shorten(1000.0)
    assert not place.refresh(1000.0 + BEGUN_AGAIN_SECONDS / 2, new_id=True)
    assert place.refresh(1000.0 + BEGUN_AGAIN_SECONDS / 2 + 1, new_id=True)


def test_a_topic_that_is_created_again_long_after_its_log_became_shorter_starts_over(place: Place) -> None:
    """The shorter log was the same topic. Its records before the position would be skipped."""
    place.shorten(1000.0)
    assert not place.refresh(1001.0)
    assert place.refresh(1000.0 + BEGUN_AGAIN_SECONDS, new_id=True)


def test_each_new_id_of_a_topic_starts_its_partitions_over(place: Place) -> None:
    assert [place.refresh(1000.0, new_id=True), place.refresh(1010.0, new_id=True)] == [True, True]
    assert not place.refresh(1011.0)
