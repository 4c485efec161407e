"""When a worker counts as live and ready."""

from streams.runtime.health import Seen, judge

WELL = {"streams.high": True, "streams.low": True}


def test_a_well_worker_is_live_and_ready() -> None:
    """And there is nothing to say."""
    health = judge(Seen(members=WELL))
    assert health.live_page() == {"live": True, "reasons": []}
    assert health.ready_page() == {"ready": True, "reasons": [], "open_breakers": {}}


def test_an_unassigned_group_is_not_ready() -> None:
    """It says which."""
    health = judge(Seen(members={**WELL, "streams.high": False}))
    assert health.live
    assert health.ready_page() == {"ready": False, "reasons": ["streams.high: not assigned yet"], "open_breakers": {}}


def test_a_stalled_partition_is_not_ready() -> None:
    """Records are there and nothing is settled."""
    health = judge(Seen(members=WELL, stalled=["document.deleted[3]"]))
    assert health.ready_page() == {
        "ready": False,
        "reasons": ["document.deleted[3]: has records, but settles none"],
        "open_breakers": {},
    }
    assert health.live


def test_a_database_that_is_down_makes_unready_not_dead() -> None:
    """A restart would not bring it back."""
    health = judge(Seen(members=WELL, database_error="connection refused"))
    assert health.live_page() == {"live": True, "reasons": []}
    assert health.ready_page() == {"ready": False, "reasons": ["database: connection refused"], "open_breakers": {}}


def test_a_dead_polling_thread_is_dead() -> None:
    """Only a restart helps."""
    health = judge(Seen(members=WELL, dead_threads=["streams.low"]))
    assert health.live_page() == {"live": False, "reasons": ["streams.low: its polling thread has ended"]}
    assert not health.ready


def test_a_stopping_worker_is_not_ready() -> None:
    """No traffic should be counted on it any more, but nothing must kill it while it drains."""
    health = judge(Seen(members=WELL, stopping=True))
    assert health.live
    assert health.ready_page() == {"ready": False, "reasons": ["stopping"], "open_breakers": {}}


def test_an_open_breaker_is_told_and_makes_nothing_unready() -> None:
    """The worker does what does not need that dependency."""
    health = judge(Seen(members=WELL, open_breakers={"embeddings": "answered 503"}))
    assert health.ready_page() == {"ready": True, "reasons": [], "open_breakers": {"embeddings": "answered 503"}}
