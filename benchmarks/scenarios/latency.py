"""The time from publishing to handling at 1,000 events per second: a single handler that does nothing, and stock Faust.

A raw consumer that only decodes shows what Kafka, its client and the machine take.
"""

import time

from benchmarks.environment import Servers, say
from benchmarks.messages import Measurement, Messages, Run
from benchmarks.result import Result, Results

EVENTS = 30_000
EVENTS_PER_SECOND = 1_000.0
_JOIN_SECONDS = 12.0
"""Seconds for a contender to join its group before the first event."""
_WARM_UP = 5_000
"""Events before the measured ones. A broker that has just started takes ten times as long for its first ones."""


def run(servers: Servers, scale: float) -> Results:
    """Median and 99th percentile in ms, and both compared with stock Faust."""
    count = max(round(EVENTS * scale), 5_000)
    found = {name: _measure(servers, name, count) for name in ("stock Faust", "single", "raw")}
    ours, peer = found["single"], found["stock Faust"]
    detail = {
        f"{name} {which} ms": _ms(getattr(measured, which))
        for name, measured in found.items()
        for which in ("p50", "p99")
    }
    yield Result("latency-p50", _ms(ours.p50), "ms", "at most", 5.0, detail)
    yield Result("latency-p99", _ms(ours.p99), "ms", "at most", 30.0, detail)
    yield Result("latency-p50-to-faust", _ms(ours.p50) / _ms(peer.p50), "times stock Faust", "at most", 1.0, detail)


def _measure(servers: Servers, contender: str, count: int) -> Measurement:
    with servers.sandbox("latency", STREAMS_PARTITIONS="4") as sandbox:
        messages = Messages(sandbox)
        run_ = Run(messages, contender, _WARM_UP + count, TIMED="1", SKIPPED=str(_WARM_UP))
        try:
            say(f"{contender}: joining")
            time.sleep(_JOIN_SECONDS)
            messages.fill(_WARM_UP + count, per_second=EVENTS_PER_SECOND)
            return run_.result()
        finally:
            run_.stop()


def _ms(seconds: float | None) -> float:
    return round((seconds or 0.0) * 1000, 2)
