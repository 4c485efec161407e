"""Runs the handler with and without an exporter, in turn, and compares the processor times of an event.

The sender samples 1 % of its traces, and the worker follows it. Both runs read the same records, one after the other.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median

from benchmarks.environment import Servers, say
from benchmarks.messages import Measurement, Messages, Run
from benchmarks.result import Result, Results
from benchmarks.scenarios.tracing.receiver import open_receiver
from streams.observability.tracing import close_tracing, open_tracing

EVENTS = 300_000
_ROUNDS = 5
TARGET = 1.10


def run(servers: Servers, scale: float) -> Results:
    """The ratio of the processor times of an event: the median of the rounds' ratios."""
    count = max(round(EVENTS * scale), 50_000)
    ratios, rates = [], []
    with open_receiver() as endpoint, servers.sandbox("tracing", STREAMS_PARTITIONS="4") as sandbox:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.01",
        }
        messages = Messages(sandbox)
        say(f"producing {count} messages")
        with _traced(variables):
            messages.fill(count)
        for turn in range(_ROUNDS):
            # The order changes, so that a machine that slows down does not favour one of them.
            order = ({}, variables) if turn % 2 else (variables, {})
            found = {bool(extra): _measure(messages, count, extra) for extra in order}
            each = {traced: one.cpu_seconds / one.events * 1e6 for traced, one in found.items()}
            say(f"round {turn + 1}: off {each[False]:.1f}, on {each[True]:.1f} µs of processor time each")
            ratios.append(each[True] / each[False])
            rates.append(found[False].rate / found[True].rate)
    detail = {"rounds": [round(one, 3) for one in ratios], "by rate": round(median(rates), 3)}
    yield Result("tracing-one-percent", median(ratios), "times without an exporter", "at most", TARGET, detail)


def _measure(messages: Messages, count: int, variables: Mapping[str, str]) -> Measurement:
    contender = Run(messages, "single", count, **variables)
    try:
        return contender.result()
    finally:
        contender.stop()


@contextmanager
def _traced(variables: Mapping[str, str]) -> Iterator[None]:
    """Let this process sample as a sender does. Its spans are never ended, so they are not sent."""
    before = dict(os.environ)
    os.environ.update(variables)
    close_tracing()
    open_tracing()
    try:
        yield
    finally:
        close_tracing()
        os.environ.clear()
        os.environ.update(before)
