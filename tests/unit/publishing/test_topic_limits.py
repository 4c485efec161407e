"""How many rows of a topic the relay sends after Kafka refused some."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.publishing.outbox.topic_limits import LARGEST_LIMIT, REST_SECONDS, TopicLimits


@dataclass(frozen=True)
class Waiting:
    id: int
    topic: str = "t"


def rows(count: int, topic: str = "t") -> list[Waiting]:
    return [Waiting(number, topic) for number in range(count)]


@pytest.mark.requirement("Faults of others", "R13: after its rest a topic is probed by one row")
def test_a_topic_that_is_unavailable_rests_and_is_probed_by_one_row() -> None:
    limits = TopicLimits()
    assert limits.unavailable("t", 100.0)
    assert not limits.unavailable("t", 100.0), "the second part of the same topic is not reported again"
    assert limits.resting(100.0 + REST_SECONDS - 0.1) == ["t"]
    assert limits.resting(100.0 + REST_SECONDS) == []
    parts = limits.parts([*rows(5), *rows(5, "other")])
    assert {topic: len(part) for topic, part in parts.items()} == {"t": 1, "other": 5}
    limits.accepted("t")
    assert len(limits.parts(rows(5))["t"]) == 2


def test_a_topic_that_accepts_again_soon_has_no_limit() -> None:
    limits = TopicLimits()
    limits.unavailable("t", 0.0)
    for _ in range(LARGEST_LIMIT.bit_length()):
        limits.accepted("t")
    assert not limits.is_limited("t")


@pytest.mark.requirement(
    "Faults of others", "c05: a row is set aside only if it was refused alone, so no valid row is set aside for another"
)
@given(st.sets(st.integers(0, 59), max_size=4), st.integers(1, 60))
def test_smaller_parts_find_exactly_the_refused_rows(bad: set[int], count: int) -> None:
    """The brokers refuse each request with a bad row in it. Only the bad rows are found, in few requests."""
    limits, left, aside, requests = TopicLimits(), rows(count), [], 0
    while left:
        requests += 1
        limited = limits.is_limited("t")
        part = limits.parts(left)["t"]
        assert part == left[: len(part)]
        if not bad.intersection(row.id for row in part):
            limits.accepted("t")
        elif limited and len(part) == 1:
            aside.append(part[0].id)
            limits.accepted("t")
        else:
            limits.refused("t", len(part))
            continue
        left = left[len(part) :]
    assert aside == sorted(bad.intersection(range(count)))
    assert requests <= 20 + 30 * len(bad)
