"""One relay process beside a raw producer of the same records, and from commit to Kafka while it is idle."""

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median

from confluent_kafka import Consumer, TopicPartition
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.environment import Ground, Plot, say, wait_until
from benchmarks.messages import Messages, a_message
from benchmarks.result import Result, Results
from benchmarks.scenarios.producing import raw_rate
from streams import headers
from streams.codec import EncodedEvent, build_codec
from streams.local.process import ServerProcess
from streams.publishing import Outbox
from streams.publishing.outbox.outbox import headers_to_json
from streams.topics import load_catalogue
from streams.transport.kafka.client import client_config
from streams.transport.kafka.records import to_record

EVENTS = 60_000
SINGLE = 400
_ROUNDS = 3
_PATIENCE = 300.0
_GAPS = (0.03, 0.12)
"""Seconds between two transactions of an idle time, so that they meet the relay at any moment of its looks."""
_WARM_UP = 2_000
COPY = "copy streams.outbox (event_id, topic, key, value, headers) from stdin"


def run(ground: Ground, scale: float) -> Results:
    """Rates by the median of rounds that take turns; the 99th percentile of single transactions."""
    count = max(round(EVENTS * scale), 10_000)
    rates: list[float] = []
    raw: list[float] = []
    with ground.plot("relay", STREAMS_PARTITIONS="4") as plot:
        records = list(Messages(plot).records(count))
        with _relaying(plot):
            _carry(plot, records[:_WARM_UP])
            for turn in range(_ROUNDS):
                raw.append(raw_rate(plot.settings, records))
                rates.append(_carry(plot, records))
                say(f"round {turn + 1}: raw {raw[-1]:,.0f} events/s, relay {rates[-1]:,.0f} events/s")
            waits = sorted(_idle(plot, max(round(SINGLE * scale), 100)))
    rate, peer = median(rates), median(raw)
    detail = {"relay": round(rate), "raw producer": round(peer), "rounds": [round(one) for one in rates]}
    yield Result("relay", rate, "events/s", "at least", 15_000, detail)
    yield Result("relay-to-raw", rate / peer, "times a raw producer", detail=detail)
    p50, p99 = (waits[len(waits) * part // 100] * 1000 for part in (50, 99))
    yield Result(
        "relay-idle-p99",
        p99,
        "ms",
        "at most",
        50.0,
        {"p50 ms": round(p50, 1), "p99 ms": round(p99, 1), "n": len(waits)},
    )


@contextmanager
def _relaying(plot: Plot) -> Iterator[None]:
    process = ServerProcess("the relay", plot.folder / "relay", stop_timeout=40.0)
    command = [str(Path(sys.executable).with_name("streams")), "relay"]
    process.start(command, environment=dict(plot.environment))
    try:
        yield
    finally:
        process.stop()


def _carry(plot: Plot, records: Sequence[EncodedEvent]) -> float:
    """Rows a second, from the commit that shows them all at once until the outbox is empty."""
    with plot.engine.begin() as connection:
        cursor = connection.connection.cursor()
        with cursor.copy(COPY) as copy:
            for one in records:
                copy.write_row((one.event_id, one.topic, one.key, one.value, json.dumps(headers_to_json(one.headers))))
    began = time.perf_counter()
    with plot.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        left = text("select 1 from streams.outbox where failed_at is null and due_at is null limit 1")
        wait_until(lambda: connection.execute(left).first() is None, "the outbox to be empty", _PATIENCE)
    return len(records) / (time.perf_counter() - began)


def _idle(plot: Plot, count: int) -> list[float]:
    """Seconds from each commit until a consumer has the record."""
    chance, codec = Random(7), build_codec(plot.settings, load_catalogue(plot.settings))
    committed: dict[str, float] = {}
    came: dict[str, float] = {}
    reader = _Reader(plot, came)
    reader.start()
    for number in range(count):
        time.sleep(chance.uniform(*_GAPS))
        event = a_message(number)
        with Session(plot.engine) as session:
            Outbox(session, codec).publish(event)
            session.commit()
            committed[str(event.event_id)] = time.perf_counter()
    wait_until(lambda: len(came.keys() & committed.keys()) == count, "the last of the single events", _PATIENCE)
    reader.over.set()
    reader.join()
    return [max(0.0, came[event_id] - at) for event_id, at in committed.items()]


class _Reader(threading.Thread):
    """Notes when each event of the topic came, from now on."""

    def __init__(self, plot: Plot, came: dict[str, float]) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self._came = came
        settings = {**client_config(plot.settings), "group.id": "reader", "fetch.wait.max.ms": 5}
        self._consumer = Consumer(settings)
        topic = Messages(plot).topic
        self._consumer.assign(
            [
                TopicPartition(topic, number, self._consumer.get_watermark_offsets(TopicPartition(topic, number))[1])
                for number in range(4)
            ]
        )

    def run(self) -> None:
        """Until `over`."""
        while not self.over.is_set():
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None:
                at = time.perf_counter()
                found = to_record(message).headers
                self._came[headers.last_text(found, headers.CE_ID) or ""] = at
        self._consumer.close()
