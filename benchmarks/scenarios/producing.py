"""`EventProducer` from events to acknowledgements, beside a raw confluent producer of records that are ready.

And, since that one encodes nothing, beside one that encodes the same values with fastavro, for the same headers.
"""

import asyncio
import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from statistics import median

import fastavro
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.environment import Ground, say
from benchmarks.messages import Messages, a_message
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
_AT_ONCE = 2_000
"""Coroutines of one `gather`."""
_FULL = 0.1
_TIMEOUT = 60.0


def run(ground: Ground, scale: float) -> Results:
    """Rates by the median of rounds that take turns, on one topic; settings of the producer are the same for all."""
    count = max(round(EVENTS * scale), 20_000)
    with ground.plot("producing", STREAMS_PARTITIONS="4") as plot:
        settings = plot.settings
        codec = build_codec(settings, load_catalogue(settings))
        events = [a_message(number) for number in range(count)]
        records = list(Messages(plot).records(count))
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
    """Records a second of the client alone, as its documentation shows it: a report for each, polled as it goes.

    `values`: of the records in their order, made as they are asked for; None: those that the records have.
    """
    client = Producer(producer_config(settings, _TIMEOUT))
    first = records[0]
    client.produce(first.topic, first.value, first.key, headers=list(first.headers))
    client.flush()
    acknowledged = 0

    def report(error: KafkaError | None, message: Message) -> None:  # noqa: ARG001 - the client's signature
        nonlocal acknowledged
        acknowledged += error is None

    began = time.perf_counter()
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
    took = time.perf_counter() - began
    if acknowledged != len(records):
        message = f"Kafka acknowledged {acknowledged} of {len(records)} records"
        raise RuntimeError(message)
    return len(records) / took


def _by_fastavro(events: Sequence[MessageCreated]) -> Iterator[bytes]:
    """Confluent's wire format, the Avro written by fastavro."""
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
        began = time.perf_counter()
        producer.publish_many(events)
        return len(events) / (time.perf_counter() - began)


async def _gathered(settings: Settings, codec: Codec, events: Sequence[MessageCreated]) -> float:
    async with AsyncEventProducer(settings, codec) as producer:
        await producer.publish(events[0])
        began = time.perf_counter()
        for first in range(0, len(events), _AT_ONCE):
            await asyncio.gather(*(producer.publish(event) for event in events[first : first + _AT_ONCE]))
        return len(events) / (time.perf_counter() - began)


def _encode(codec: Codec, events: Sequence[MessageCreated]) -> float:
    began = time.perf_counter()
    for event in events:
        codec.encode(event)
    return len(events) / (time.perf_counter() - began)
