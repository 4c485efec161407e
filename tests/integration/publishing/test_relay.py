"""The relay on real servers: the outbox's rows are sent once and in order, whatever fails."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert, text

from schemas import DocumentDeleted
from streams.codec import build_codec
from streams.database import Database
from streams.database.tables import outbox
from streams.observability.metrics import exposition
from streams.publishing.outbox import relay as relay_module
from streams.publishing.outbox.outbox import outbox_row
from streams.publishing.outbox.relay import BATCH_ROWS, Relay
from streams.settings import Settings
from streams.topics import load_catalogue
from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.producer import NewRecord, RecordProducer
from tests.support.kafka_records import end_offsets, read_all
from tests.support.pages import page
from tests.support.processes.worker_process import PATIENCE, rows, scalar

pytestmark = pytest.mark.topics("document.deleted", "dataset.deleted")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may stop this process for a second. Other tests check that a frozen relay loses its lock."""
    limits = str(relay_module.TRANSACTION_SETTINGS).replace(f"'{relay_module.IDLE_TIMEOUT}'", "'30s'")
    assert "30s" in limits
    monkeypatch.setattr(relay_module, "TRANSACTION_SETTINGS", text(limits))


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    made = Database(settings)
    yield made
    await made.dispose()


@pytest.fixture
async def records(topics: Settings) -> AsyncIterator[RecordProducer]:
    made = RecordProducer(topics, delivery_timeout=10.0)
    await made.start()
    yield made
    await made.stop()


def fill(engine: Engine, settings: Settings, names: list[str], at: datetime | None = None) -> None:
    """Rows as a sender's transaction writes them."""
    codec = build_codec(settings, load_catalogue(settings))
    events = [DocumentDeleted(document_id=name, dataset_id="s", doc_form="text_model") for name in names]
    with engine.begin() as connection:
        connection.execute(insert(outbox), [outbox_row(codec.encode(event), at) for event in events])


def waiting(engine: Engine) -> object:
    return scalar(engine, "select count(*) from streams.outbox where failed_at is null")


async def until(condition: object, expected: object) -> None:
    """Wait until a function returns the expected value. Fails after PATIENCE seconds."""
    assert callable(condition)
    async with asyncio.timeout(PATIENCE):
        while (seen := await asyncio.to_thread(condition)) != expected:
            assert seen is not None
            await asyncio.sleep(0.02)


@pytest.mark.requirement("Publishing", "nothing goes out if the transaction rolls back, everything if it commits")
@pytest.mark.requirement("Publishing", "rows deleted once Kafka acknowledged")
async def test_rows_go_out_as_they_are_in_order_and_are_deleted(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine
) -> None:
    """More than two batches of one key: Kafka has the rows in their order, byte for byte. The outbox is empty."""
    codec = build_codec(settings, load_catalogue(settings))
    events = [
        DocumentDeleted(document_id="d", dataset_id=str(number), doc_form="text_model")
        for number in range(2 * BATCH_ROWS + 3)
    ]
    encoded = [codec.encode(event) for event in events]
    with engine.begin() as connection:
        connection.execute(insert(outbox), [outbox_row(one) for one in encoded])
    relay = Relay(database.bookkeeping, records, settings)
    assert [await relay.step() for _ in range(4)] == [BATCH_ROWS, BATCH_ROWS, 3, 0]
    assert waiting(engine) == 0
    came = await asyncio.to_thread(read_all, settings, encoded[0].topic, len(encoded))
    assert [message.value() for message in came] == [one.value for one in encoded]
    assert came[0].key() == b"d"
    assert tuple(came[0].headers() or ()) == encoded[0].headers


@pytest.mark.requirement("Publishing", "batches, order per key")
async def test_batches_overlap_and_a_key_s_order_holds(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small batches in one transaction; the next is sent before the previous is acknowledged: each row once."""
    monkeypatch.setattr("streams.publishing.outbox.relay.BATCH_ROWS", 50)
    codec = build_codec(settings, load_catalogue(settings))
    events = [DocumentDeleted(document_id="d", dataset_id=str(number), doc_form="text_model") for number in range(990)]
    with engine.begin() as connection:
        connection.execute(insert(outbox), [outbox_row(codec.encode(event)) for event in events])
    relay = Relay(database.bookkeeping, records, settings)
    turn = await relay._run_transaction(asyncio.Event(), idle=0.0, send=PATIENCE)
    assert (turn.acknowledged, waiting(engine)) == (990, 0)
    topic = f"{settings.topic_prefix}document.deleted"
    came = await asyncio.to_thread(read_all, settings, topic, len(events))
    assert [codec.decode(topic, message.value()).event_id for message in came] == [event.event_id for event in events]
    assert await asyncio.to_thread(end_offsets, settings, topic) == len(events)


@pytest.mark.requirement("Publishing", "batches, order per key")
async def test_large_rows_go_in_smaller_batches(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as fit, at least one."""
    fill(engine, settings, [str(number) for number in range(5)])
    relay = Relay(database.bookkeeping, records, settings)
    monkeypatch.setattr("streams.publishing.outbox.relay.BATCH_BYTES", 1)
    assert [await relay.step(), await relay.step()] == [1, 1]
    size = int(str(scalar(engine, "select max(octet_length(value)) from streams.outbox")))
    monkeypatch.setattr("streams.publishing.outbox.relay.BATCH_BYTES", 2 * size)
    assert [await relay.step(), await relay.step()] == [2, 1]


@pytest.mark.requirement("Publishing", "how much waits, as metrics")
async def test_its_metrics_tell_how_much_waits(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine
) -> None:
    """Only the active relay exports metrics. A standby relay exports none."""
    fill(engine, settings, ["a", "b"])
    fill(engine, settings, ["later"], datetime.now(tz=UTC) + timedelta(hours=1))
    fill(engine, settings, ["aside"])
    with engine.begin() as connection:
        connection.execute(text("update streams.outbox set failed_at = now() where key = 'aside'"))
    relay = Relay(database.bookkeeping, records, settings)
    await relay.step()
    page = exposition()[0].decode()
    assert "streams_outbox_waiting 2.0" in page
    assert "streams_outbox_set_aside 1.0" in page
    assert "streams_outbox_oldest_seconds " in page
    stop = asyncio.Event()
    stop.set()
    await relay.run(stop)
    assert "streams_outbox_waiting" not in exposition()[0].decode()


async def test_a_row_is_never_early(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine
) -> None:
    fill(engine, settings, ["due"], datetime.now(tz=UTC) - timedelta(seconds=1))
    fill(engine, settings, ["later"], datetime.now(tz=UTC) + timedelta(hours=1))
    relay = Relay(database.bookkeeping, records, settings)
    assert [await relay.step(), await relay.step()] == [1, 0]
    assert [row["key"] for row in rows(engine, "select key from streams.outbox")] == [b"later"]


@pytest.mark.requirement("Publishing", "poisoned rows set aside with their error; seen, retried, dropped")
async def test_what_kafka_refuses_is_set_aside_and_the_rest_goes_on(
    database: Database,
    records: RecordProducer,
    settings: Settings,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A row for a topic that does not exist, and two with undecodable headers, between valid rows."""
    fill(engine, settings, ["a", "nowhere", "garbled", "nested", "b"])
    nested = "[" * 1100 + "]" * 1100
    with engine.begin() as connection:
        connection.execute(text("update streams.outbox set topic = 'no.such.topic' where key = 'nowhere'"))
        connection.execute(text("""update streams.outbox set headers = '[["x"]]' where key = 'garbled'"""))
        connection.execute(text(f"update streams.outbox set headers = '{nested}' where key = 'nested'"))
    relay = Relay(database.bookkeeping, records, settings)
    assert await relay.step() == 2
    aside = rows(engine, "select key, failed_at, error from streams.outbox order by id")
    assert [row["key"] for row in aside] == [b"nowhere", b"garbled", b"nested"]
    assert all(row["failed_at"] is not None and row["error"] for row in aside)
    assert sum("set aside" in record.message for record in caplog.records) == 3
    assert await relay.step() == 0


class Unwilling:
    """Accepts no records of one topic for now."""

    def __init__(self, records: RecordProducer, topic: str) -> None:
        self.records = records
        self.topic: str | None = topic

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Sequence[ProduceError | None]]":
        records = list(records)
        willing = iter(await (await self.records.send_all([one for one in records if one.topic != self.topic])))
        told: asyncio.Future[Sequence[ProduceError | None]] = asyncio.get_running_loop().create_future()
        told.set_result(
            [ProduceError("no leader", retriable=True) if one.topic == self.topic else next(willing) for one in records]
        )
        return told


@pytest.mark.requirement("Publishing", "rows deleted once Kafka acknowledged")
async def test_a_topic_that_is_down_holds_up_no_other(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine
) -> None:
    """More than a batch waits for a topic without a leader. A later event of another topic is sent all the same."""
    down = f"{settings.topic_prefix}document.deleted"
    fill(engine, settings, [str(number) for number in range(BATCH_ROWS)])
    fill(engine, settings, ["behind"])
    up = f"{settings.topic_prefix}dataset.deleted"
    with engine.begin() as connection:
        connection.execute(text("update streams.outbox set topic = :topic where key = 'behind'"), {"topic": up})
    relay = Relay(database.bookkeeping, Unwilling(records, down), settings)
    assert [await relay.step(), await relay.step()] == [0, 1]
    assert waiting(engine) == BATCH_ROWS
    assert scalar(engine, "select count(*) from streams.outbox where failed_at is not null") == 0


@pytest.mark.requirement(
    "Publishing",
    "one active at a time, stand-bys that take over within 2 s, whether it was killed or frozen",
)
async def test_one_relay_is_active_and_another_takes_over(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine
) -> None:
    """Two relays run, each row is sent once. The active one ends without a message; the other one takes over."""
    stop = asyncio.Event()
    relays = [Relay(database.bookkeeping, records, settings) for _ in range(2)]
    running = [asyncio.create_task(relay.run(stop)) for relay in relays]
    fill(engine, settings, [str(number) for number in range(1000)])
    await until(lambda: waiting(engine), 0)
    topic = f"{settings.topic_prefix}document.deleted"
    assert await asyncio.to_thread(end_offsets, settings, topic) == 1000

    active = next(task for relay, task in zip(relays, running, strict=True) if relay._active)
    active.cancel()
    fill(engine, settings, ["after"])
    await until(lambda: waiting(engine), 0)
    assert await asyncio.to_thread(end_offsets, settings, topic) == 1001
    stop.set()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.requirement(
    "Publishing",
    "one active at a time, stand-bys that take over within 2 s, whether it was killed or frozen",
)
async def test_a_locked_relay_row_makes_a_stand_by(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine
) -> None:
    fill(engine, settings, ["d"])
    relay = Relay(database.bookkeeping, records, settings)
    with engine.begin() as other:
        other.execute(text("select 1 from streams.relay for update"))
        assert await relay.step() == 0
    assert await relay.step() == 1


@pytest.mark.requirement("Publishing", "killing relays at any moment loses none")
async def test_it_outlives_the_database_s_outage(
    database: Database,
    records: RecordProducer,
    settings: Settings,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its connections are cut again and again: it logs this, continues, and sends everything."""
    stop = asyncio.Event()
    running = asyncio.create_task(Relay(database.bookkeeping, records, settings).run(stop))
    for round_ in range(3):
        fill(engine, settings, [f"{round_}-{number}" for number in range(100)])
        with engine.begin() as connection:
            connection.execute(
                text("select pg_terminate_backend(pid) from pg_stat_activity where application_name = :name"),
                {"name": f"{settings.application}-bookkeeping"},
            )
        await until(lambda: waiting(engine), 0)
    assert not running.done()
    assert any("relay failed" in record.message for record in caplog.records)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert await asyncio.to_thread(end_offsets, settings, f"{settings.topic_prefix}document.deleted") >= 300


async def test_an_idle_relay_sends_soon_and_stops_at_once(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(Relay(database.bookkeeping, records, settings).run(stop))
    fill(engine, settings, ["warm"])
    await until(lambda: waiting(engine), 0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    fill(engine, settings, ["d"])
    await until(lambda: waiting(engine), 0)
    assert loop.time() - began < 1.0
    stop.set()
    await asyncio.wait_for(running, 2)


@pytest.mark.requirement(
    "Publishing",
    "a Debezium EventRouter configuration that maps our columns, tested by the schema",
)
async def test_debezium_and_the_relay_of_the_rest_have_each_row_between_them(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine
) -> None:
    """With that publication on a real PostgreSQL, the relay sends exactly what it leaves out."""
    (publication,) = [
        block.text for block in page("docs/how-to/debezium.md").blocks if block.text.startswith("create publication")
    ]
    fill(engine, settings, ["plain", "tier"])
    fill(engine, settings, ["due"], datetime.now(tz=UTC) - timedelta(seconds=1))
    with engine.begin() as connection:
        connection.execute(
            text("update streams.outbox set topic = :tier where key = 'tier'"),
            {"tier": f"{settings.topic_prefix}{settings.application}.low.retry.0s"},
        )
        connection.execute(text(publication))
        filter_ = connection.execute(text("select rowfilter from pg_publication_tables where tablename = 'outbox'"))
        given = connection.execute(text(f"select key from streams.outbox where {filter_.scalar_one()}")).scalars()
        assert list(given) == [b"plain"]
    relay = Relay(database.bookkeeping, records, settings.model_copy(update={"outbox_relayed": "rest"}))
    assert await relay.step() == 2
    assert [row["key"] for row in rows(engine, "select key from streams.outbox")] == [b"plain"]
