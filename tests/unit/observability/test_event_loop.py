"""The delay of the event loop, as a callback sees it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from streams.observability import metrics
from streams.observability.metrics.event_loop import INTERVAL, LONGEST_DELAY, delays_until
from tests.support.prometheus.exposition import samples

NAME = "streams_event_loop_delay_seconds"


def observed() -> dict[str, float]:
    """Return the samples of the histogram: the count and the sum, and the buckets by their bounds."""
    page, _ = metrics.exposition()
    return {sample.labels.get("le", sample.name): sample.value for sample in samples(page.decode(), NAME)}


@pytest.fixture
async def measuring() -> Iterator[None]:  # type: ignore[misc]  # an asynchronous fixture
    task = asyncio.create_task(metrics.measure_delay())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.requirement("Logs and metrics", "delay of the event loop")
@pytest.mark.usefixtures("measuring")
async def test_a_blocked_loop_is_late_for_each_measurement_that_it_prevents() -> None:
    """Half a second of standstill is five late callbacks, not one of them."""
    await asyncio.sleep(0)
    before = observed()
    time.sleep(INTERVAL * 6)  # noqa: ASYNC251 - the fault
    async with asyncio.timeout(10):
        while observed().get(f"{NAME}_count", 0) - before.get(f"{NAME}_count", 0) < 5:  # noqa: ASYNC110 - as Prometheus
            await asyncio.sleep(INTERVAL)
    after = observed()
    assert after[f"{NAME}_sum"] - before.get(f"{NAME}_sum", 0) > INTERVAL * (5 + 4 + 3 + 2 + 1) * 0.9
    assert (after["+Inf"] - after["0.25"]) - (before.get("+Inf", 0) - before.get("0.25", 0)) >= 2


def test_a_delay_counts_for_the_measurements_that_it_prevents() -> None:
    assert list(delays_until(0.05)) == [0.05]
    assert list(delays_until(0.35)) == pytest.approx([0.35, 0.25, 0.15, 0.05])
    assert list(delays_until(-0.1)) == []
    assert max(delays_until(10 * LONGEST_DELAY)) == LONGEST_DELAY
