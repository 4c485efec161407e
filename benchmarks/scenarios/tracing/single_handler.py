"""Runs the handler with and without an exporter, in turn, and compares the processor times of an event.

The sender samples 1 % of its traces, and the worker follows it. Both runs read the same records, one after the other.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median

from sqlalchemy import text

from benchmarks.environment import Servers, say
from benchmarks.messages import Measurement, Messages, Run
from benchmarks.result import Result, Results
from benchmarks.scenarios.tracing.receiver import open_receiver
from streams.observability.tracing import close_tracing, open_tracing

EVENTS = {"single": 300_000, "recorded": 10_000}
_NAMES = {"single": "tracing-one-percent", "recorded": "tracing-one-percent-with-ledger"}
_LEAST = 0.1
"""Of these numbers, at any scale."""
_ROUNDS = 5
TARGET = 1.10


def run(servers: Servers, scale: float) -> Results:
    """The ratio of the processor times of an event: the median of the rounds' ratios. Without and with the ledger."""
    with open_receiver() as endpoint, servers.sandbox("tracing", STREAMS_PARTITIONS="4") as sandbox:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.01",
        }
        counts = {contender: round(events * max(scale, _LEAST)) for contender, events in EVENTS.items()}
        messages = Messages(sandbox)
        say(f"producing {max(counts.values())} messages")
        with _traced(variables):
            messages.fill(max(counts.values()))
        for contender, count in counts.items():
            yield _compare(messages, contender, count, variables)


def _compare(messages: Messages, contender: str, count: int, variables: Mapping[str, str]) -> Result:
    ratios, rates = [], []
    for turn in range(_ROUNDS):
        # The order changes, so that a machine that slows down does not favour one of them.
        order = ({}, variables) if turn % 2 else (variables, {})
        found = {bool(extra): _measure(messages, contender, count, extra) for extra in order}
        each = {traced: one.cpu_seconds / one.events * 1e6 for traced, one in found.items()}
        say(f"{contender}, round {turn + 1}: off {each[False]:.1f}, on {each[True]:.1f} µs of processor time each")
        ratios.append(each[True] / each[False])
        rates.append(found[False].rate / found[True].rate)
    detail = {"rounds": [round(one, 3) for one in ratios], "by rate": round(median(rates), 3)}
    return Result(_NAMES[contender], median(ratios), "times without an exporter", "at most", TARGET, detail)


def _measure(messages: Messages, contender: str, count: int, variables: Mapping[str, str]) -> Measurement:
    with messages.sandbox.engine.begin() as connection:
        # Each run handles the same events. With the rows of the run before, it would find all of them done.
        connection.execute(text("truncate streams.executions"))
    made = Run(messages, contender, count, **variables)
    try:
        return made.result()
    finally:
        made.stop()


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
