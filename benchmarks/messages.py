"""Produces `message.created` records, and runs contenders that consume them, each as its own process."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from benchmarks.environment import Sandbox, wait_until
from schemas import MessageCreated
from streams.codec import EncodedEvent, build_codec
from streams.local.process import ServerProcess
from streams.runtime.declarations import build_catalogue
from streams.transport.kafka.client import producer_config

_TIMEOUT = 600.0
_STOP_TIMEOUT = 40.0
_PRODUCER_START = 3.0
"""Seconds."""
TENANTS = 20
APPS = 200
ROOT = Path(__file__).parents[1]
_PIPELINE = ("-m", "faust", "-A", "benchmarks.contenders.pipeline", "worker")
CONTENDERS: Mapping[str, tuple[str, ...]] = {
    "raw": ("-m", "benchmarks.contenders.raw_loop"),
    "stock Faust": ("-m", "faust", "-A", "benchmarks.contenders.stock_faust", "worker", "--without-web", "-l", "warn"),
    "FastStream": ("-m", "benchmarks.contenders.faststream_batch"),
    "batch": _PIPELINE,
    "single": _PIPELINE,
    "recorded": _PIPELINE,
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measurement of a contender."""

    events: int
    seconds: float
    cpu_seconds: float
    p50: float | None
    p99: float | None

    @property
    def rate(self) -> float:
        """Events per second, from the first event to the last."""
        return self.events / self.seconds


def make_message(number: int) -> MessageCreated:
    """Return a message of one of TENANTS tenants and APPS apps; it costs 30 tokens."""
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
    """The messages topic of one benchmark."""

    sandbox: Sandbox

    @property
    def topic(self) -> str:
        """Return its name in the cluster."""
        return build_catalogue(self.sandbox.settings).of(MessageCreated).name

    def records(self, count: int) -> Iterator[EncodedEvent]:
        """Yield this number of messages as records."""
        codec = build_codec(self.sandbox.settings, build_catalogue(self.sandbox.settings))
        return (codec.encode(make_message(number)) for number in range(count))

    def fill(self, count: int, *, per_second: float | None = None) -> None:
        """Produce messages, at most `per_second` per second. Raises RuntimeError if Kafka does not accept them."""
        # Not compressed: the driver of stock Faust would need another package to read it.
        settings = {
            **producer_config(self.sandbox.settings, 60.0),
            "linger.ms": 1 if per_second else 50,
            "compression.type": "none",
        }
        producer = Producer(settings)
        if per_second:
            # An idempotent producer buffers records until it has its id. A new broker needs a second for that.
            producer.poll(_PRODUCER_START)
        started = time.perf_counter()
        for number, record in enumerate(self.records(count)):
            while per_second and number > (time.perf_counter() - started) * per_second:
                time.sleep(0.0005)
            producer.produce(record.topic, key=record.key, value=record.value, headers=list(record.headers))
            producer.poll(0)
            if not per_second and len(producer) > 50_000:  # noqa: PLR2004 - half of the client's queue
                producer.poll(0.1)
        if producer.flush(60):
            message = "Kafka did not take the messages"
            raise RuntimeError(message)

    def forget_offsets(self) -> None:
        """Delete the group of the pipeline, so that it starts at the first offset, as the peers' new groups do."""
        group = build_catalogue(self.sandbox.settings).group("high")
        admin = AdminClient({"bootstrap.servers": self.sandbox.settings.kafka_bootstrap_servers})
        known = {one.group_id for one in admin.list_consumer_groups().result(10).valid}
        if group in known:
            admin.delete_consumer_groups([group])[group].result(20)

    def measure(self, contender: str, count: int, *, skipped: int = 0) -> Measurement:
        """Run a contender over the first `count` messages of the topic, and measure the ones after `skipped`."""
        run = Run(self, contender, count, SKIPPED=str(skipped))
        try:
            return run.result()
        finally:
            run.stop()


class Run:
    """A running contender, which ends after this number of events."""

    def __init__(self, messages: Messages, contender: str, count: int, **extra: str) -> None:
        sandbox, name = messages.sandbox, f"{contender.replace(' ', '-')}-{uuid4().hex[:6]}"
        if CONTENDERS[contender] is _PIPELINE:
            messages.forget_offsets()
        self._result_file = sandbox.folder / f"{name}.json"
        self.process = ServerProcess(contender, sandbox.folder / name, stop_timeout=_STOP_TIMEOUT)
        environment = {
            **sandbox.environment,
            "EVENTS": str(count),
            "RESULT_FILE": str(self._result_file),
            "GROUP": name,
            "TOPIC": messages.topic,
            "KIND": contender,
            "STREAMS_POOLS": "high",
            "PYTHONPATH": str(ROOT),
            "F_DATADIR": str(sandbox.folder / f"{name}-data"),
            **extra,
        }
        self.process.start([sys.executable, *CONTENDERS[contender]], environment=environment)

    def result(self) -> Measurement:
        """Return its measurement. Raises RuntimeError if it ends early, TimeoutError if it never ends."""

        def done() -> bool:
            if self.process.pid is None and not self._result_file.exists():
                message = f"{self.process.name} ended early: {self.process.last_lines()}"
                raise RuntimeError(message)
            return self._result_file.exists()

        wait_until(done, f"{self.process.name}'s last event", _TIMEOUT)
        return Measurement(**json.loads(self._result_file.read_text()))

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()
