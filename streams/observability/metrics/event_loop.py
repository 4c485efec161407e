"""The delay of the event loop: how much later than asked a callback runs."""

import asyncio
from collections.abc import Iterator

from streams.observability.metrics.histogram import Histogram

INTERVAL = 0.1
"""Seconds between two measurements."""
LONGEST_DELAY = 3600.0
"""Seconds. A machine that was suspended for longer counts as this."""
_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_delays = Histogram(
    "streams_event_loop_delay_seconds",
    "How much later than asked the event loop runs a callback, measured ten times a second.",
    (),
    _BOUNDS,
)


async def measure_delay() -> None:
    """Measure the delay of the running event loop until it is cancelled."""
    loop, observations = asyncio.get_running_loop(), _delays.of()
    while True:
        due = loop.time() + INTERVAL
        await asyncio.sleep(INTERVAL)
        observations.observe_all(delays_until(loop.time() - due))


def delays_until(delay: float) -> Iterator[float]:
    """Yield a delay, and those of the measurements that it prevented: they would have come after each interval.

    Without them a second of standstill would count as one measurement of ten, and the percentiles would hide it.
    """
    delay = min(delay, LONGEST_DELAY)
    while delay > 0:
        yield delay
        delay -= INTERVAL
