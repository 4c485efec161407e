"""From published to handled at 1,000 events a second: a single handler that does nothing, and stock Faust.

Beside them a raw consumer, which only decodes: what Kafka, its client and the machine take by themselves.
"""

import time

from benchmarks.environment import Ground, say
from benchmarks.messages import Messages, Run, Told
from benchmarks.result import Result, Results

EVENTS = 30_000
A_SECOND = 1_000.0
_JOINING = 12.0
"""Seconds that a contender is given to join its group before the first event."""
_WARM_UP = 5_000
"""Events before those that count: a broker that has just started takes its first ones ten times as long."""


def run(ground: Ground, scale: float) -> Results:
    """Median and 99th percentile in ms, and both beside stock Faust's."""
    count = max(round(EVENTS * scale), 5_000)
    found = {name: _measure(ground, name, count) for name in ("stock Faust", "single", "raw")}
    ours, peer = found["single"], found["stock Faust"]
    detail = {
        f"{name} {which} ms": _ms(getattr(told, which)) for name, told in found.items() for which in ("p50", "p99")
    }
    yield Result("latency-p50", _ms(ours.p50), "ms", "at most", 5.0, detail)
    yield Result("latency-p99", _ms(ours.p99), "ms", "at most", 30.0, detail)
    yield Result("latency-p50-to-faust", _ms(ours.p50) / _ms(peer.p50), "times stock Faust", "at most", 1.0, detail)


def _measure(ground: Ground, contender: str, count: int) -> Told:
    with ground.plot("latency", STREAMS_PARTITIONS="4") as plot:
        messages = Messages(plot)
        run_ = Run(messages, contender, _WARM_UP + count, TIMED="1", SKIPPED=str(_WARM_UP))
        try:
            say(f"{contender}: joining")
            time.sleep(_JOINING)
            messages.fill(_WARM_UP + count, a_second=A_SECOND)
            return run_.told()
        finally:
            run_.stop()


def _ms(seconds: float | None) -> float:
    return round((seconds or 0.0) * 1000, 2)
