"""`message.created` records on their topic, and the contenders that work through them, each a process of its own."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from benchmarks.environment import Plot, wait_until
from schemas import MessageCreated
from streams.codec import EncodedEvent, build_codec
from streams.local.process import ServerProcess
from streams.runtime.declarations import build_catalogue
from streams.transport.kafka.client import producer_config

_PATIENCE = 600.0
_STOP_TIMEOUT = 40.0
_PRODUCER_START = 3.0
"""Seconds."""
TENANTS = 20
APPS = 200
ROOT = Path(__file__).parents[1]
CONTENDERS: Mapping[str, tuple[str, ...]] = {
    "raw": ("-m", "benchmarks.contenders.raw_loop"),
    "stock Faust": ("-m", "faust", "-A", "benchmarks.contenders.stock_faust", "worker", "--without-web", "-l", "warn"),
    "FastStream": ("-m", "benchmarks.contenders.faststream_batch"),
    "batch": ("-m", "faust", "-A", "benchmarks.contenders.pipeline", "worker"),
    "single": ("-m", "faust", "-A", "benchmarks.contenders.pipeline", "worker"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a contender measured of itself."""

    events: int
    seconds: float
    cpu_seconds: float
    p50: float | None
    p99: float | None

    @property
    def rate(self) -> float:
        """Events a second, the clock running from the first to the last."""
        return self.events / self.seconds


def a_message(number: int) -> MessageCreated:
    """One of TENANTS tenants and APPS apps; it costs 30 tokens."""
    return MessageCreated(
        tenant_id=str(UUID(int=number % TENANTS)),
        message_id=str(UUID(int=number)),
        app_id=str(UUID(int=number % APPS)),
        provider_name="openai",
        model="gpt-4o-mini",
        provider_type="system",
        quota_type="trial",
        quota_unit="tokens",
        quota_limit=10**12,
        message_tokens=10,
        answer_tokens=20,
    )


@dataclass(frozen=True, slots=True)
class Messages:
    """The topic of one plot."""

    plot: Plot

    @property
    def topic(self) -> str:
        """Its name on the cluster."""
        return build_catalogue(self.plot.settings).of(MessageCreated).name

    def records(self, count: int) -> Iterator[EncodedEvent]:
        """So many messages as records."""
        codec = build_codec(self.plot.settings, build_catalogue(self.plot.settings))
        return (codec.encode(a_message(number)) for number in range(count))

    def fill(self, count: int, *, a_second: float | None = None) -> None:
        """Put so many on the topic, at most so many a second. Raises RuntimeError where Kafka does not take them."""
        # Not compressed: stock Faust's driver would need a further package to read it.
        settings = {
            **producer_config(self.plot.settings, 60.0),
            "linger.ms": 1 if a_second else 50,
            "compression.type": "none",
        }
        producer = Producer(settings)
        if a_second:
            # An idempotent producer holds what it is given until it has its id, which a new broker takes a second for.
            producer.poll(_PRODUCER_START)
        began = time.perf_counter()
        for number, record in enumerate(self.records(count)):
            while a_second and number > (time.perf_counter() - began) * a_second:
                time.sleep(0.0005)
            producer.produce(record.topic, key=record.key, value=record.value, headers=list(record.headers))
            producer.poll(0)
            if not a_second and len(producer) > 50_000:  # noqa: PLR2004 - half of the client's queue
                producer.poll(0.1)
        if producer.flush(60):
            message = "Kafka did not take the messages"
            raise RuntimeError(message)

    def forget_offsets(self) -> None:
        """Let the pipeline's own group begin at the start again, as the peers' new groups do."""
        group = build_catalogue(self.plot.settings).group("high")
        admin = AdminClient({"bootstrap.servers": self.plot.settings.kafka_bootstrap_servers})
        known = {one.group_id for one in admin.list_consumer_groups().result(10).valid}
        if group in known:
            admin.delete_consumer_groups([group])[group].result(20)

    def measure(self, contender: str, count: int, *, skipped: int = 0) -> Told:
        """Have a contender work through the first `count` messages of the topic; those after `skipped` are measured."""
        run = Run(self, contender, count, SKIPPED=str(skipped))
        try:
            return run.told()
        finally:
            run.stop()


class Run:
    """A contender that works until it has seen so many events."""

    def __init__(self, messages: Messages, contender: str, count: int, **extra: str) -> None:
        plot, name = messages.plot, f"{contender.replace(' ', '-')}-{uuid4().hex[:6]}"
        if contender in {"batch", "single"}:
            messages.forget_offsets()
        self._told = plot.folder / f"{name}.json"
        self.process = ServerProcess(contender, plot.folder / name, stop_timeout=_STOP_TIMEOUT)
        environment = {
            **plot.environment,
            "EVENTS": str(count),
            "TOLD": str(self._told),
            "GROUP": name,
            "TOPIC": messages.topic,
            "KIND": contender,
            "STREAMS_POOLS": "high",
            "PYTHONPATH": str(ROOT),
            "F_DATADIR": str(plot.folder / f"{name}-data"),
            **extra,
        }
        self.process.start([sys.executable, *CONTENDERS[contender]], environment=environment)

    def told(self) -> Told:
        """What it says once it is done. Raises RuntimeError where it ends before, TimeoutError where it never is."""

        def done() -> bool:
            if self.process.pid is None and not self._told.exists():
                message = f"{self.process.name} ended early: {self.process.last_lines()}"
                raise RuntimeError(message)
            return self._told.exists()

        wait_until(done, f"{self.process.name}'s last event", _PATIENCE)
        return Told(**json.loads(self._told.read_text()))

    def stop(self) -> None:
        """End it."""
        self.process.stop()
