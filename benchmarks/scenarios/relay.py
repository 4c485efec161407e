"""One relay process, compared with a raw producer of the same records; and its latency when idle."""

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

from benchmarks.environment import Sandbox, Servers, say, wait_until
from benchmarks.messages import Messages, make_message
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
_TIMEOUT = 300.0
_GAPS = (0.03, 0.12)
"""Seconds between two transactions when idle. They are random, so that they hit any moment of the relay's polling."""
_WARM_UP = 2_000
COPY = "copy streams.outbox (event_id, topic, key, value, headers) from stdin"


def run(servers: Servers, scale: float) -> Results:
    """Rates by the median of alternating rounds; the 99th percentile of single transactions."""
    count = max(round(EVENTS * scale), 10_000)
    rates: list[float] = []
    raw: list[float] = []
    with servers.sandbox("relay", STREAMS_PARTITIONS="4") as sandbox:
        records = list(Messages(sandbox).records(count))
        with _running_relay(sandbox):
            _carry(sandbox, records[:_WARM_UP])
            for turn in range(_ROUNDS):
                raw.append(raw_rate(sandbox.settings, records))
                rates.append(_carry(sandbox, records))
                say(f"round {turn + 1}: raw {raw[-1]:,.0f} events/s, relay {rates[-1]:,.0f} events/s")
            waits = sorted(_idle(sandbox, max(round(SINGLE * scale), 100)))
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
def _running_relay(sandbox: Sandbox) -> Iterator[None]:
    process = ServerProcess("the relay", sandbox.folder / "relay", stop_timeout=40.0)
    command = [str(Path(sys.executable).with_name("streams")), "relay"]
    process.start(command, environment=dict(sandbox.environment))
    try:
        yield
    finally:
        process.stop()


def _carry(sandbox: Sandbox, records: Sequence[EncodedEvent]) -> float:
    """Return the rows per second from the commit of all rows until the outbox is empty."""
    with sandbox.engine.begin() as connection:
        cursor = connection.connection.cursor()
        with cursor.copy(COPY) as copy:
            for one in records:
                copy.write_row((one.event_id, one.topic, one.key, one.value, json.dumps(headers_to_json(one.headers))))
    started = time.perf_counter()
    with sandbox.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        left = text("select 1 from streams.outbox where failed_at is null and due_at is null limit 1")
        wait_until(lambda: connection.execute(left).first() is None, "the outbox to be empty", _TIMEOUT)
    return len(records) / (time.perf_counter() - started)


def _idle(sandbox: Sandbox, count: int) -> list[float]:
    """Return the seconds from each commit until a consumer has the record."""
    chance, codec = Random(7), build_codec(sandbox.settings, load_catalogue(sandbox.settings))
    committed: dict[str, float] = {}
    came: dict[str, float] = {}
    reader = _Reader(sandbox, came)
    reader.start()
    for number in range(count):
        time.sleep(chance.uniform(*_GAPS))
        event = make_message(number)
        with Session(sandbox.engine) as session:
            Outbox(session, codec).publish(event)
            session.commit()
            committed[str(event.event_id)] = time.perf_counter()
    wait_until(lambda: len(came.keys() & committed.keys()) == count, "the last of the single events", _TIMEOUT)
    reader.over.set()
    reader.join()
    return [max(0.0, came[event_id] - at) for event_id, at in committed.items()]


class _Reader(threading.Thread):
    """Records the arrival time of each event of the topic, from now on."""

    def __init__(self, sandbox: Sandbox, came: dict[str, float]) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self._came = came
        settings = {**client_config(sandbox.settings), "group.id": "reader", "fetch.wait.max.ms": 5}
        self._consumer = Consumer(settings)
        topic = Messages(sandbox).topic
        self._consumer.assign(
            [
                TopicPartition(topic, number, self._consumer.get_watermark_offsets(TopicPartition(topic, number))[1])
                for number in range(4)
            ]
        )

    def run(self) -> None:
        """Run until `over` is set."""
        while not self.over.is_set():
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None:
                at = time.perf_counter()
                found = to_record(message).headers
                self._came[headers.last_text(found, headers.CE_ID) or ""] = at
        self._consumer.close()
