"""`EventProducer` from events to acknowledgements, compared with a raw confluent producer of encoded records.

Since that one does not encode, it is also compared with one that encodes the same values with fastavro.
"""

import asyncio
import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from statistics import median

import fastavro
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.environment import Servers, say
from benchmarks.messages import Messages, make_message
from benchmarks.result import Result, Results
from schemas import MessageCreated
from streams.codec import Codec, EncodedEvent, build_codec
from streams.publishing import AsyncEventProducer, EventProducer
from streams.schema_registry.export import avro_schema
from streams.settings import Settings
from streams.topics import load_catalogue
from streams.transport.kafka.client import producer_config

EVENTS = 100_000
TARGET = 0.5
_ROUNDS = 5
_CONCURRENCY = 2_000
"""Coroutines per `gather`."""
_FULL = 0.1
_TIMEOUT = 60.0


def run(servers: Servers, scale: float) -> Results:
    """Rates by the median of alternating rounds, on one topic, with the same producer settings."""
    count = max(round(EVENTS * scale), 20_000)
    with servers.sandbox("producing", STREAMS_PARTITIONS="4") as sandbox:
        settings = sandbox.settings
        codec = build_codec(settings, load_catalogue(settings))
        events = [make_message(number) for number in range(count)]
        records = list(Messages(sandbox).records(count))
        contenders: dict[str, Callable[[], float]] = {
            "raw": lambda: raw_rate(settings, records),
            "raw with fastavro": lambda: raw_rate(settings, records, _by_fastavro(events)),
            "publish_many": lambda: _publish_many(settings, codec, events),
            "asyncio, gathered": lambda: asyncio.run(_gathered(settings, codec, events[: count // 5])),
            "encoding alone": lambda: _encode(codec, events),
        }
        found: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(_ROUNDS):
            for name, measure in contenders.items():
                found[name].append(measure())
                say(f"round {turn + 1}, {name}: {found[name][-1]:,.0f} events/s")
    rates = {name: median(taken) for name, taken in found.items()}
    detail = {name: round(rate) for name, rate in rates.items()}
    yield Result("producing", rates["publish_many"] / rates["raw"], "times raw", "at least", TARGET, detail)
    to_fastavro = rates["publish_many"] / rates["raw with fastavro"]
    yield Result("producing-to-fastavro", to_fastavro, "times raw with fastavro", detail=detail)
    yield Result("producing-asyncio", rates["asyncio, gathered"] / rates["raw"], "times raw", detail=detail)


def raw_rate(settings: Settings, records: Sequence[EncodedEvent], values: Iterable[bytes] | None = None) -> float:
    """Return the records per second of the client alone, used as its documentation shows.

    It polls one delivery report per record. `values` are the values of the records in order, created on demand; None:
    the values of the records.
    """
    client = Producer(producer_config(settings, _TIMEOUT))
    first = records[0]
    client.produce(first.topic, first.value, first.key, headers=list(first.headers))
    client.flush()
    acknowledged = 0

    def report(error: KafkaError | None, message: Message) -> None:  # noqa: ARG001 - the client's signature
        nonlocal acknowledged
        acknowledged += error is None

    started = time.perf_counter()
    for one, value in zip(records, values or map(attrgetter("value"), records), strict=True):
        while True:
            try:
                client.produce(one.topic, value, one.key, headers=list(one.headers), on_delivery=report)
            except BufferError:
                client.poll(_FULL)
            else:
                break
        client.poll(0)
    client.flush()
    took = time.perf_counter() - started
    if acknowledged != len(records):
        message = f"Kafka acknowledged {acknowledged} of {len(records)} records"
        raise RuntimeError(message)
    return len(records) / took


def _by_fastavro(events: Sequence[MessageCreated]) -> Iterator[bytes]:
    """Yield values in Confluent's wire format, with Avro written by fastavro."""
    schema = fastavro.parse_schema(avro_schema(MessageCreated))
    buffer = io.BytesIO()
    for event in events:
        buffer.seek(0)
        buffer.truncate()
        buffer.write(b"\x00\x00\x00\x00\x01")
        fastavro.schemaless_writer(buffer, schema, event.__dict__)
        yield buffer.getvalue()


def _publish_many(settings: Settings, codec: Codec, events: Sequence[MessageCreated]) -> float:
    with EventProducer(settings, codec) as producer:
        producer.publish(events[0])
        started = time.perf_counter()
        producer.publish_many(events)
        return len(events) / (time.perf_counter() - started)


async def _gathered(settings: Settings, codec: Codec, events: Sequence[MessageCreated]) -> float:
    async with AsyncEventProducer(settings, codec) as producer:
        await producer.publish(events[0])
        started = time.perf_counter()
        for first in range(0, len(events), _CONCURRENCY):
            await asyncio.gather(*(producer.publish(event) for event in events[first : first + _CONCURRENCY]))
        return len(events) / (time.perf_counter() - started)


def _encode(codec: Codec, events: Sequence[MessageCreated]) -> float:
    started = time.perf_counter()
    for event in events:
        codec.encode(event)
    return len(events) / (time.perf_counter() - started)
