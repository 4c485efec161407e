"""What one event costs from Kafka to a handler that does nothing, beside a raw loop, stock Faust and FastStream.

All decode the same records in one process each, and take turns on the same topic.
"""

from statistics import median

from benchmarks.environment import Ground, say
from benchmarks.messages import Messages, Told
from benchmarks.result import Result, Results

EVENTS = 300_000
_ROUNDS = 3
_SLOW = {"stock Faust": 10}
"""Contenders that get one part in so many of the events: a rate is a rate, and a round should not take minutes."""
_CONTENDERS = ("raw", "batch", "FastStream", "single", "stock Faust")
TARGETS = (
    ("handling-batch-to-faust", "batch", "stock Faust", 7.0),
    ("handling-batch-to-faststream", "batch", "FastStream", 1.0),
    ("handling-batch-to-raw", "batch", "raw", 0.6),
    ("handling-single-to-faust", "single", "stock Faust", 3.0),
)


def run(ground: Ground, scale: float) -> Results:
    """The ratio of each pair, by the median of the rounds."""
    count = max(round(EVENTS * scale), 100_000)
    found: dict[str, list[Told]] = {name: [] for name in _CONTENDERS}
    with ground.plot("handling", STREAMS_PARTITIONS="4") as plot:
        messages = Messages(plot)
        say(f"producing {count} messages")
        messages.fill(count)
        for turn in range(_ROUNDS):
            for name in _CONTENDERS:
                told = messages.measure(name, count // _SLOW.get(name, 1))
                each = told.cpu_seconds / told.events * 1e6
                say(f"round {turn + 1}, {name}: {told.rate:,.0f} events/s, {each:.1f} µs of processor time each")
                found[name].append(told)
    rates = {name: median(told.rate for told in tellings) for name, tellings in found.items()}
    detail = {name: round(rate) for name, rate in rates.items()}
    for title, ours, peer, target in TARGETS:
        yield Result(title, rates[ours] / rates[peer], f"times {peer}", "at least", target, detail)
