"""Records that no honest producer sends, and handlers that do what none should, on a real worker.

Expected: each is a dead letter, every valid record between them is done, and the worker goes on.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from uuid import UUID

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from sqlalchemy import Engine

from schemas.event import new_event_id
from streams import headers
from streams.codec import Codec, build_codec
from streams.codec.claim_check import TICKET_MAGIC, Ticket
from streams.codec.encryption import ENCRYPTED_MAGIC
from streams.runtime.declarations import build_catalogue
from streams.schema_registry.export import export
from streams.settings import Settings
from streams.storage import open_store
from streams.transport.kafka.client import client_config
from streams.transport.kafka.records import to_record
from tests.integration.conftest import Stack, make_topics, own_environment, settings_in
from tests.support.apps import poisons
from tests.support.apps.poisons import LongPoisonSent, PoisonSent
from tests.support.hostile.raw_producer import RawProducer, RawRecord
from tests.support.kafka_records import end_offsets, read_all
from tests.support.local_stack.databases import polling_engine
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for

DLQ_LIMIT = 60_000
"""Bytes that the DLQ takes. The topics of the events take 1 MiB."""
LAST_ID = UUID(int=((1 << 48) - 1 << 80) | 0x7 << 76 | 0b10 << 62)
KINDS = ("exit", "interrupt", "close", "task", "group", "thread", "fail")


@pytest.fixture(scope="module")
def environment(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("poisons")
    registry = folder / "registry"
    export(build_catalogue(Settings(handlers=(poisons.__name__,))), registry)
    with own_environment(stack, template, folder, partitions=1) as own:
        yield {
            **own,
            "STREAMS_HANDLERS": poisons.__name__,
            "STREAMS_SCHEMA_REGISTRY_URL": f"file:{registry}",
            "STREAMS_LEASE_SECONDS": "3s",
        }


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> Settings:
    return settings_in(environment)


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Iterator[Engine]:
    made = polling_engine(settings)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def one_worker(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    make_topics(settings_in(environment))
    made = WorkerProcess(environment, tmp_path_factory.mktemp("worker") / "worker.log").start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def codec(settings: Settings) -> Codec:
    return build_codec(settings, build_catalogue(settings))


def poison(poison_id: str, kind: str = "good", **fields: object) -> PoisonSent:
    """Return an event without its validation."""
    valid = PoisonSent(poison_id="valid", kind=kind, blob=b"")
    return valid.model_copy(update={"poison_id": poison_id, **fields})


def a_ticket(**changed: object) -> bytes:
    ticket = Ticket.of(new_event_id(), b"payload")
    fields = {"key": ticket.key, "size": ticket.size, "sha256": ticket.sha256, **changed}
    return TICKET_MAGIC + json.dumps(fields).encode()


def poison_values(codec: Codec) -> Mapping[str, bytes | None]:
    """Return values that are no event. The name says what is wrong with them."""
    return {
        "tombstone": None,
        "empty": b"",
        "byte 1": ENCRYPTED_MAGIC + b"clear",
        "ticket of dashes": a_ticket(key="claims/20260101/" + "-" * 36),
        "ticket of the year 10889": a_ticket(key=f"claims/20260101/{LAST_ID}"),
        "nested ticket": TICKET_MAGIC + b"[" * 5000,
        "negative ticket": a_ticket(size=-(10**9)),
        "validator": codec.encode_inline(poison("raise it")).value,
        "id of the year 10889": codec.encode_inline(poison("id", event_id=LAST_ID)).value,
        "zeros": bytes(8_000_000),
        "large": os.urandom(DLQ_LIMIT * 2),
    }


def limit_dlq(settings: Settings, topic: str) -> None:
    """Let the DLQ take less than its topic."""
    name = build_catalogue(settings).dlq(topic)
    entry = ConfigEntry("max.message.bytes", str(DLQ_LIMIT), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    admin = AdminClient(client_config(settings))
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)


@pytest.mark.requirement("Faults of others", "c16: headers that the client cannot read are a dead letter")
@pytest.mark.requirement(
    "Faults of others", "c07: `sys.exit()` in a handler is the handler's failure, not the worker's end"
)
@pytest.mark.requirement("Faults of others", "c04: a copy that Kafka rejects goes without its value, which is stored")
@pytest.mark.requirement("Faults of others", "c06: a header without a value stays one, in every copy of the record")
@pytest.mark.requirement("Faults of others", "R1: arguments that JSON cannot represent never matter")
@pytest.mark.requirement("Faults of others", "R2: whatever building the event raises is `validation`")
@pytest.mark.requirement("Faults of others", "H1: a forged ticket is a dead letter, never the end of a worker")
def test_every_poison_is_a_dead_letter_and_every_valid_record_is_done(
    settings: Settings, engine: Engine, codec: Codec, one_worker: WorkerProcess
) -> None:
    """One partition, a valid record behind each poison: nothing stops the partition or ends the process."""
    topic = codec.encode_inline(poison("name")).topic
    limit_dlq(settings, topic)
    producer = Producer({**client_config(settings), "compression.type": "gzip", "message.max.bytes": 20_000_000})
    valid: list[PoisonSent] = []

    def send_valid() -> None:
        number = len(valid)
        event = PoisonSent(
            poison_id=f"valid {number}", blob=b"\xff\xd8" * (number % 2), number=float("nan"), name="Ada"
        )
        valid.append(event)
        encoded = codec.encode_inline(event)
        producer.produce(topic, encoded.value, encoded.key, headers=list(encoded.headers))
        assert producer.flush(20) == 0

    send_valid()
    values = poison_values(codec)
    for name, value in values.items():
        producer.produce(topic, value, name.encode(), headers=[("null", None), ("odd", b"\xff")])
        send_valid()
    bad_header = codec.encode_inline(poison("bad header"))
    raw = RawProducer(settings.kafka_bootstrap_servers)
    raw.send(topic, 0, [RawRecord(bad_header.value, b"bad header", [(b"h\xff\xfe", b"v")], round(time.time() * 1000))])
    raw.close()
    send_valid()
    failing = [PoisonSent(poison_id=kind, kind=kind, blob=b"") for kind in KINDS]
    for event in failing:
        publish(settings, [event])
        send_valid()
    long = [LongPoisonSent(poison_id=kind, kind=kind, blob=b"") for kind in (*KINDS, "good")]
    publish(settings, long)

    done = "select count(*) from streams.executions where status = 'success'"
    wait_for(lambda: scalar(engine, done) == len(valid) + 1, "the valid records", 120)
    dead = "select count(*) from streams.dead_letters"
    expected = len(values) + 1 + 2 * len(KINDS)
    wait_for(lambda: scalar(engine, dead) == expected, f"{expected} dead letters", 120)
    assert one_worker.page("/health/live")[0] == 200

    letters = dict(records_of_keys(settings, topic))
    assert letters["tombstone"][1][:2] == (("null", None), ("odd", b"\xff"))
    assert letters["zeros"][0] == bytes(8_000_000)
    _, unreadable = letters["bad header"]
    assert headers.last_text(unreadable, headers.DLQ_OMITTED) == "headers"
    assert "cannot be read" in str(headers.last_text(unreadable, headers.DLQ_MESSAGE))
    stored, sent = letters["large"]
    assert headers.last_text(sent, headers.DLQ_OMITTED) == "value"
    assert open_store(settings).read(Ticket.read(stored or b"").key) == values["large"]
    shown = rows(engine, "select handler, error, reason from streams.executions where status = 'failure'")
    assert len(shown) == 2 * len(KINDS)
    exits = [row for row in shown if "ProcessExitError" in str(row["error"])]
    assert len(exits) >= 2 * 5, shown
    assert one_worker.stop() == 0, one_worker.output()[-4000:]


def records_of_keys(settings: Settings, topic: str) -> Iterator[tuple[str, tuple[bytes | None, headers.Headers]]]:
    """Yield the key, value and headers of a topic's dead letters."""
    dlq = build_catalogue(settings).dlq(topic)
    for message in read_all(settings, dlq, end_offsets(settings, dlq)):
        record = to_record(message)
        yield (record.key or b"").decode(), (record.value, record.headers)
