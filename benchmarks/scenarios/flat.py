"""Checks that an event costs the same among 10,000 and 1,000,000 events, and on 1 and 64 partitions.

The cost is the processor time of the whole process, which a busy machine disturbs less than wall time.
"""

from statistics import median

from benchmarks.environment import Servers, say
from benchmarks.messages import Messages
from benchmarks.result import Result, Results

FEW, MANY = 10_000, 1_000_000
PREFETCHED = 40_000
"""Events that a worker fetches before it handles the first one. They would be cheaper than the others."""
PARTITION_EVENTS = 200_000
_ROUNDS = 3
TARGET = 1.2
"""The largest allowed ratio of the costs."""


def run(servers: Servers, scale: float) -> Results:
    """Both ratios, with a batch handler that does nothing."""
    many = max(round(MANY * scale), 10 * FEW)
    with servers.sandbox("flat", STREAMS_PARTITIONS="4") as sandbox:
        messages = Messages(sandbox)
        say(f"producing {PREFETCHED + many} messages")
        messages.fill(PREFETCHED + many)
        few_cost, many_cost = _cost(messages, FEW), _cost(messages, many)
    detail = {f"µs each of {FEW}": round(few_cost, 1), f"µs each of {many}": round(many_cost, 1)}
    yield Result("flat-events", many_cost / few_cost, "times the cost", "at most", TARGET, detail)

    count = max(round(PARTITION_EVENTS * scale), 50_000)
    costs = {}
    for partitions in (1, 64):
        with servers.sandbox("flat", STREAMS_PARTITIONS=str(partitions)) as sandbox:
            messages = Messages(sandbox)
            messages.fill(PREFETCHED + count)
            costs[partitions] = _cost(messages, count)
    detail = {f"µs each on {partitions}": round(cost, 1) for partitions, cost in costs.items()}
    yield Result("flat-partitions", costs[64] / costs[1], "times the cost", "at most", TARGET, detail)


def _cost(messages: Messages, count: int) -> float:
    """Return the processor time per event in µs, the median of the rounds."""
    measured = [messages.measure("batch", PREFETCHED + count, skipped=PREFETCHED) for _ in range(_ROUNDS)]
    return median(one.cpu_seconds / one.events * 1e6 for one in measured)
