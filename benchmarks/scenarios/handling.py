"""The cost of one event from Kafka to a handler that does nothing, compared with other consumers.

The others are a raw loop, stock Faust and FastStream.

All decode the same records in one process each, and run alternately on the same topic.
"""

from statistics import median

from benchmarks.environment import Servers, say
from benchmarks.messages import Measurement, Messages
from benchmarks.result import Result, Results

EVENTS = 300_000
_ROUNDS = 3
_SLOW = {"stock Faust": 10}
"""Contenders that get only a fraction of the events (1/n), so that a round does not take minutes."""
_CONTENDERS = ("raw", "batch", "FastStream", "single", "stock Faust")
TARGETS = (
    ("handling-batch-to-faust", "batch", "stock Faust", 7.0),
    ("handling-batch-to-faststream", "batch", "FastStream", 1.0),
    ("handling-batch-to-raw", "batch", "raw", 0.6),
    ("handling-single-to-faust", "single", "stock Faust", 3.0),
)


def run(servers: Servers, scale: float) -> Results:
    """The ratio of each pair, from the median of the rounds."""
    count = max(round(EVENTS * scale), 100_000)
    found: dict[str, list[Measurement]] = {name: [] for name in _CONTENDERS}
    with servers.sandbox("handling", STREAMS_PARTITIONS="4") as sandbox:
        messages = Messages(sandbox)
        say(f"producing {count} messages")
        messages.fill(count)
        for turn in range(_ROUNDS):
            for name in _CONTENDERS:
                measured = messages.measure(name, count // _SLOW.get(name, 1))
                each = measured.cpu_seconds / measured.events * 1e6
                say(f"round {turn + 1}, {name}: {measured.rate:,.0f} events/s, {each:.1f} µs of processor time each")
                found[name].append(measured)
    rates = {name: median(measured.rate for measured in measurements) for name, measurements in found.items()}
    detail = {name: round(rate) for name, rate in rates.items()}
    for title, ours, peer, target in TARGETS:
        yield Result(title, rates[ours] / rates[peer], f"times {peer}", "at least", target, detail)
