"""Sends hostile records to a real worker, and checks that it takes all of them and does the valid ones in time."""

import time
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random

from confluent_kafka import Producer
from sqlalchemy import Engine

from benchmarks.memory import MemoryWatch
from streams.codec import build_codec
from streams.operations.lag import group_lag
from streams.runtime.declarations import build_catalogue, build_handlers, topics_to_read
from streams.settings import POOL_NAMES, Settings
from streams.topics import Catalogue
from streams.transport.kafka.client import client_config
from tests.support.apps.trials import SingleTrialRequested
from tests.support.hostile.raw_producer import BrokerRefusedError, RawProducer, RawRecord
from tests.support.hostile.records import HostileRecords, registered_schemas
from tests.support.processes.worker_process import WorkerProcess, rows, scalar, wait_for

BATCH = 500
MEMORY = 500.0
"""MiB that the worker may have. It has 155 before its first record, and up to 465 with full windows and giants."""
_GIANT = 8 * 1024 * 1024
"""Bytes of zeros, which need 8 KB when they are compressed."""
Place = tuple[str, int, int]


@dataclass
class Sent:
    """What was sent to event topics."""

    places: set[Place] = field(default_factory=set)
    refused: int = 0
    """Records that the broker did not accept."""


@dataclass(frozen=True)
class Outcome:
    """The figures of a run."""

    records: int
    refused: int
    valid: int
    dead: int
    executions: int
    seconds: float
    peak: float
    """MiB."""


def run_hostile_records(
    settings: Settings, engine: Engine, worker: WorkerProcess, *, count: int, seed: int, patience: float
) -> Outcome:
    """Send `count` hostile records of a seed to a running worker, wait until it has settled them, and check.

    Args:
        settings: The settings of the worker.
        engine: The engine of its database.
        worker: The running worker.
        count: How many records.
        seed: Makes the records repeatable.
        patience: Seconds that the worker may need after the last record.
    """
    catalogue = build_catalogue(settings)
    read = topics_to_read(catalogue, build_handlers(settings))
    folder = Path(settings.schema_registry_url.removeprefix("file:"))
    schemas = [one for one in registered_schemas(folder, catalogue) if one.topic in read]
    tiers = {tier: catalogue.tier_partitions(pool) for pool in POOL_NAMES for tier in catalogue.tiers(pool)}
    partitions = {**tiers, **{topic.name: topic.partitions or 1 for topic in catalogue}}
    hostile = HostileRecords(seed, build_codec(settings, catalogue), schemas, list(tiers))
    assert worker.process is not None
    began = time.monotonic()
    with MemoryWatch(worker.process.pid) as watch:
        sent = send_all(settings, hostile.take(count), partitions, Random(seed))
        send_by_transactions(settings, catalogue)
        send_giants(settings, catalogue)
        ids = [event.event_id for event in hostile.valid]
        done = "select count(*) from streams.executions where status = 'success' and event_id = any(:ids)"
        wait_for(
            lambda: scalar(engine, done, ids=ids) == len(ids) or _ended(worker),
            f"{len(ids)} valid events to succeed",
            patience,
        )
        wait_for(
            lambda: unread(settings, catalogue, read) == {} or _ended(worker),
            "the offsets to move to the end",
            patience,
        )
    assert not _ended(worker), worker.output()[-3000:]
    assert watch.peak < MEMORY, f"{watch.peak:.0f} MiB"
    found = accounted(engine)
    lost = sent.places - found
    assert lost == set(), f"{len(lost)} records without an execution or a dead letter: {sorted(lost)[:5]}"
    return Outcome(
        count,
        sent.refused,
        len(ids),
        int(str(scalar(engine, "select count(*) from streams.dead_letters"))),
        int(str(scalar(engine, "select count(*) from streams.executions"))),
        time.monotonic() - began,
        watch.peak,
    )


def send_all(
    settings: Settings, records: Iterable[tuple[str, RawRecord]], partitions: Mapping[str, int], random: Random
) -> Sent:
    """Send records in batches to random partitions. A batch that the broker refuses is sent again record by record."""
    producer, sent, stream = RawProducer(settings.kafka_bootstrap_servers), Sent(), iter(records)
    try:
        while part := list(islice(stream, BATCH)):
            grouped: dict[tuple[str, int], list[RawRecord]] = defaultdict(list)
            for topic, record in part:
                grouped[topic, random.randrange(partitions[topic])].append(record)
            for (topic, partition), group in grouped.items():
                for batch in _accepted(producer, topic, partition, group, sent):
                    if ".retry." not in topic:
                        sent.places |= {(topic, partition, offset) for offset in batch}
    finally:
        producer.close()
    return sent


def _accepted(
    producer: RawProducer, topic: str, partition: int, group: Sequence[RawRecord], sent: Sent
) -> Iterator[range]:
    """Yield the offsets of what the broker accepts."""
    try:
        first = producer.send(topic, partition, group)
        yield range(first, first + len(group))
    except BrokerRefusedError:
        if len(group) == 1:
            sent.refused += 1
            return
        for one in group:
            yield from _accepted(producer, topic, partition, [one], sent)


def send_by_transactions(settings: Settings, catalogue: Catalogue) -> None:
    """Send valid events in transactions that are committed and aborted in turn."""
    codec = build_codec(settings, catalogue)
    producer = Producer({**client_config(settings), "transactional.id": f"{settings.application}-hostile"})
    producer.init_transactions(30)
    for turn in range(6):
        producer.begin_transaction()
        for number in range(5):
            one = codec.encode(SingleTrialRequested(entity=f"transaction-{turn}-{number}"))
            producer.produce(one.topic, key=one.key, value=one.value, headers=list(one.headers))
        # Otherwise the client drops what it has not sent, and the abort is of nothing.
        assert producer.flush(30) == 0
        if turn % 2:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)


def send_giants(settings: Settings, catalogue: Catalogue) -> None:
    """Send records that are small in Kafka and large in memory, on a topic of each kind."""
    producer = Producer(
        {**client_config(settings), "compression.type": "gzip", "message.max.bytes": 2 * _GIANT, "linger.ms": 0}
    )
    topic = catalogue.of(SingleTrialRequested).name
    for value in (bytes(_GIANT), b"\0\0\0\0\1" + bytes(_GIANT), b"\2" + b"[" * _GIANT, zlib.compress(bytes(_GIANT))):
        producer.produce(topic, key=b"giant", value=value)
        assert producer.flush(30) == 0


def unread(settings: Settings, catalogue: Catalogue, read: Collection[str]) -> dict[Place, int]:
    """Return the lag of each partition of these topics that has any."""
    return {
        (one.topic, one.partition, one.end_offset): one.lag
        for one in group_lag(settings, catalogue).lags
        if one.lag and one.topic in read
    }


def accounted(engine: Engine) -> set[Place]:
    """Return the places of all records that have an execution or a dead letter."""
    found = rows(
        engine,
        'select topic, partition, "offset" from streams.executions'
        ' union select topic, partition, "offset" from streams.dead_letters',
    )
    return {(str(row["topic"]), int(str(row["partition"])), int(str(row["offset"]))) for row in found}


def _ended(worker: WorkerProcess) -> bool:
    return worker.process is None or worker.process.poll() is not None
