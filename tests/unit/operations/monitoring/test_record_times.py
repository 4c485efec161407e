"""When a cached timestamp still belongs to the oldest unsettled record."""

import pytest

from streams.observability.metrics import Lag
from streams.operations.monitoring.record_times import _Known


@pytest.mark.parametrize(
    ("known", "current", "end", "holds"),
    [
        (_Known(10, 20, 5.0), 10, 20, True),
        (_Known(10, 20, 5.0), 10, 30, True),
        (_Known(10, 20, 5.0), 11, 20, False),
        (_Known(10, 20, 5.0), 10, 15, False),
        (_Known(10, 20, None), 10, 20, True),
        (_Known(10, 20, None), 10, 21, False),
    ],
    ids=[
        "the same",
        "more behind it",
        "settled",
        "the topic was created again",
        "markers only",
        "a record after markers",
    ],
)
def test_a_timestamp_holds_while_its_record_is_the_oldest(
    known: _Known, current: int, end: int, *, holds: bool
) -> None:
    lag = Lag("streams.low", "document.deleted", 0, current_offset=current, end_offset=end, lag=end - current)
    assert known.holds_for(lag) == holds
