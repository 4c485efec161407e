"""Whether an event costs the same among 10,000 and among 1,000,000, on one partition and on 64.

Cost is processor time of the whole process, which a noisy machine disturbs less than the clock.
"""

from statistics import median

from benchmarks.environment import Ground, say
from benchmarks.messages import Messages
from benchmarks.result import Result, Results

FEW, MANY = 10_000, 1_000_000
FETCHED_AHEAD = 40_000
"""Events that a worker fetches before it handles the first: they would be cheaper than the others."""
OF_PARTITIONS = 200_000
_ROUNDS = 3
TARGET = 1.2
"""Times that the larger may cost of the smaller."""


def run(ground: Ground, scale: float) -> Results:
    """Both ratios, of a batch handler that does nothing."""
    many = max(round(MANY * scale), 10 * FEW)
    with ground.plot("flat", STREAMS_PARTITIONS="4") as plot:
        messages = Messages(plot)
        say(f"producing {FETCHED_AHEAD + many} messages")
        messages.fill(FETCHED_AHEAD + many)
        few_cost, many_cost = _cost(messages, FEW), _cost(messages, many)
    detail = {f"µs each of {FEW}": round(few_cost, 1), f"µs each of {many}": round(many_cost, 1)}
    yield Result("flat-events", many_cost / few_cost, "times the cost", "at most", TARGET, detail)

    count = max(round(OF_PARTITIONS * scale), 50_000)
    costs = {}
    for partitions in (1, 64):
        with ground.plot("flat", STREAMS_PARTITIONS=str(partitions)) as plot:
            messages = Messages(plot)
            messages.fill(FETCHED_AHEAD + count)
            costs[partitions] = _cost(messages, count)
    detail = {f"µs each on {partitions}": round(cost, 1) for partitions, cost in costs.items()}
    yield Result("flat-partitions", costs[64] / costs[1], "times the cost", "at most", TARGET, detail)


def _cost(messages: Messages, count: int) -> float:
    """Processor time of an event in µs, the median of the rounds."""
    told = [messages.measure("batch", FETCHED_AHEAD + count, skipped=FETCHED_AHEAD) for _ in range(_ROUNDS)]
    return median(one.cpu_seconds / one.events * 1e6 for one in told)
