"""Settings whose values must stay below a fixed time limit of the program."""

import pytest
from pydantic import ValidationError

from streams.durations import parse_duration
from streams.publishing.outbox.relay import IDLE_TIMEOUT, LONGEST_PAUSE
from streams.settings import Settings
from streams.transport.kafka.poll_loop import STALLED_SECONDS


@pytest.mark.requirement(
    "Faults of others", "R20: no setting lets the relay lose its connection, or a worker look stalled while it drains"
)
@pytest.mark.parametrize(
    ("name", "largest", "limit"),
    [
        ("outbox_poll_interval", 0.5, parse_duration(IDLE_TIMEOUT)),
        ("revoke_drain_timeout", 20.0, STALLED_SECONDS),
    ],
)
def test_the_largest_value_stays_below_the_limit(name: str, largest: float, limit: float) -> None:
    assert largest < limit
    assert parse_duration(IDLE_TIMEOUT) > LONGEST_PAUSE
    assert getattr(Settings.model_validate({name: largest}), name) == largest
    for refused in (largest + 0.1, f"{limit:g}s"):
        with pytest.raises(ValidationError, match=name):
            Settings.model_validate({name: refused})
