"""When a worker counts as live and ready."""

import pytest

from streams.observability.metrics import Lag
from streams.runtime.web.health import StallDetector, WorkerState, health_of

WELL = {"streams.high": True, "streams.low": True}


def test_a_well_worker_is_live_and_ready() -> None:
    """It has no reasons."""
    health = health_of(WorkerState(members=WELL))
    assert health.live_page() == {"live": True, "reasons": []}
    assert health.ready_page() == {"ready": True, "reasons": [], "open_breakers": {}}


def test_an_unassigned_group_is_not_ready() -> None:
    """The reason names the group."""
    health = health_of(WorkerState(members={**WELL, "streams.high": False}))
    assert health.live
    assert health.ready_page() == {"ready": False, "reasons": ["streams.high: not assigned yet"], "open_breakers": {}}


def test_a_stalled_partition_is_not_ready() -> None:
    """It has records, but none is settled."""
    health = health_of(WorkerState(members=WELL, stalled=["document.deleted[3]"]))
    assert health.ready_page() == {
        "ready": False,
        "reasons": ["document.deleted[3]: has records, but settles none"],
        "open_breakers": {},
    }
    assert health.live


@pytest.mark.requirement("Faults of others", "c18a: a topic that cannot be read is a reason on the health page")
def test_an_unreadable_topic_is_not_ready() -> None:
    """The reason names the topic and the cause; the process stays alive, since other topics continue."""
    health = health_of(WorkerState(members=WELL, unreadable={"document.deleted": "authorization failed"}))
    assert health.ready_page()["reasons"] == ["document.deleted: cannot be read: authorization failed"]
    assert health.live
    assert not health.ready


def test_a_database_that_is_down_makes_unready_not_dead() -> None:
    """A restart would not bring it back."""
    health = health_of(WorkerState(members=WELL, database_error="connection refused"))
    assert health.live_page() == {"live": True, "reasons": []}
    assert health.ready_page() == {"ready": False, "reasons": ["database: connection refused"], "open_breakers": {}}


def test_a_dead_polling_thread_is_dead() -> None:
    """Only a restart helps."""
    health = health_of(WorkerState(members=WELL, dead_threads=["streams.low"]))
    assert health.live_page() == {"live": False, "reasons": ["streams.low: its polling thread has ended"]}
    assert not health.ready


def test_a_stopping_worker_is_not_ready() -> None:
    """It accepts no new work, but must not be killed while it drains."""
    health = health_of(WorkerState(members=WELL, stopping=True))
    assert health.live
    assert health.ready_page() == {"ready": False, "reasons": ["stopping"], "open_breakers": {}}


def test_an_open_breaker_is_reported_and_does_not_make_a_worker_unready() -> None:
    """The worker continues with work that does not need the dependency."""
    health = health_of(WorkerState(members=WELL, open_breakers={"embeddings": "answered 503"}))
    assert health.ready_page() == {"ready": True, "reasons": [], "open_breakers": {"embeddings": "answered 503"}}


def positions(*offsets: int, end: int = 100) -> list[Lag]:
    return [Lag("streams.low", "document.deleted", at, one, end, end - one) for at, one in enumerate(offsets)]


def never(topic: str) -> bool:
    return topic == "waits"


@pytest.mark.requirement("Faults of others", "readiness reports partitions that stand still")
def test_a_partition_is_stalled_while_its_offset_stays_although_it_has_records() -> None:
    """A moved offset, a partition without records and one that is owned anew start the time again."""
    detector = StallDetector(after=60)
    assert detector.stalled(positions(5, 7, 100), never, 0) == []
    assert detector.stalled(positions(5, 8, 100), never, 59) == []
    assert detector.stalled(positions(5, 8, 100), never, 60) == ["document.deleted[0]"]
    assert detector.stalled(positions(6, 8, 100), never, 119) == ["document.deleted[1]"]
    assert detector.stalled(positions(6, 100, 100), never, 120) == []
    assert detector.stalled([], never, 200) == []
    assert detector.stalled(positions(6, 100, 100), never, 201) == []


@pytest.mark.requirement("Faults of others", "readiness reports partitions that stand still")
def test_records_that_wait_on_purpose_are_not_stalled() -> None:
    detector = StallDetector(after=60)
    tier = [Lag("streams.low", "waits", 0, 5, 9, 4)]
    assert detector.stalled(tier, never, 0) == []
    assert detector.stalled(tier, never, 1_000) == []
    assert detector.stalled(tier, lambda _: False, 1_001) == []  # the reason has just ended
    assert detector.stalled(tier, lambda _: False, 1_061) == ["waits[0]"]
