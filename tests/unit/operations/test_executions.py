"""The summary of finished and pending work of every handler."""

from streams.observability.metrics import Lag
from streams.operations.executions import Summary, summarize


def test_pending_is_the_outbox_plus_the_lag_of_all_partitions() -> None:
    lags = [
        Lag("streams.low", "document.deleted", 0, current_offset=3, end_offset=5, lag=2),
        Lag("streams.low", "document.deleted", 1, current_offset=0, end_offset=4, lag=4),
        Lag("streams.low", "streams.low.retry.10s", 0, current_offset=0, end_offset=9, lag=9),
    ]
    counts = {("clean-document", "success"): 7, ("clean-document", "retry"): 1}
    (row,) = summarize([("clean-document", "document.deleted")], counts, {"document.deleted": 3}, lags)
    assert row == Summary("clean-document", pending=9, received=0, started=0, retry=1, success=7, failure=0)


def test_every_handler_is_listed_and_so_are_former_ones() -> None:
    rows = summarize([("b", "t")], {("a", "failure"): 2}, {}, [])
    assert rows == [Summary("a", 0, 0, 0, 0, 0, 2), Summary("b", 0, 0, 0, 0, 0, 0)]
