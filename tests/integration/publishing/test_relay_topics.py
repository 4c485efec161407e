"""The relay and topics that Kafka cannot take, takes late, or refuses: each affects only its own rows."""

import asyncio
from collections.abc import Iterable, Sequence

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from sqlalchemy import Engine, text

from streams.database import Database
from streams.publishing.outbox.relay import BATCH_ROWS, Relay
from streams.publishing.outbox.topic_limits import REST_SECONDS
from streams.settings import Settings
from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.producer import NewRecord, RecordProducer
from tests.integration.publishing.test_relay import database, fill, patient, records, until, waiting
from tests.support.local_stack.cluster import admin_client
from tests.support.processes.worker_process import rows, scalar, wait_for

pytestmark = pytest.mark.topics("document.deleted", "dataset.deleted")

__all__ = ["database", "patient", "records"]
Outcomes = Sequence[ProduceError | None]


def move(engine: Engine, topic: str, *keys: str) -> None:
    """Let the rows with these keys go to another topic."""
    with engine.begin() as connection:
        connection.execute(
            text("update streams.outbox set topic = :topic where convert_from(key, 'UTF8') = any(:keys)"),
            {"topic": topic, "keys": list(keys)},
        )


class Silent:
    """Gives no answer about the records of one topic until `answer` is called."""

    def __init__(self, records: RecordProducer, topic: str) -> None:
        self.records = records
        self.topic = topic
        self.unanswered: list[tuple[asyncio.Future[Outcomes], int]] = []

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Outcomes]":
        records = list(records)
        if records[0].topic != self.topic:
            return await self.records.send_all(records)
        future: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        self.unanswered.append((future, len(records)))
        return future

    def answer(self) -> list[int]:
        """Time out, as the producer does in the end. Returns how many records each part had."""
        unanswered, self.unanswered = self.unanswered, []
        for future, count in unanswered:
            future.set_result([ProduceError("no leader", retriable=True)] * count)
        return [count for _, count in unanswered]


@pytest.mark.requirement(
    "Faults of others", "R13: a topic that gives no answer holds up no other, and one row probes it"
)
async def test_a_topic_without_an_answer_holds_up_no_other(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than two batches wait for it. The rows of another topic go out while it is silent, and while it rests."""
    monkeypatch.setattr("streams.publishing.outbox.topic_limits.REST_SECONDS", 0.5)
    assert REST_SECONDS > 0.5
    down, up = (f"{settings.topic_prefix}{name}" for name in ("document.deleted", "dataset.deleted"))
    count = 2 * BATCH_ROWS + 500
    fill(engine, settings, [str(number) for number in range(count)])
    silent = Silent(records, down)
    stop = asyncio.Event()
    running = asyncio.create_task(Relay(database.bookkeeping, silent, settings).run(stop))
    try:
        for name in ("first", "second"):
            fill(engine, settings, [name])
            move(engine, up, name)
            await until(lambda: scalar(engine, "select count(*) from streams.outbox where topic = :up", up=up), 0)
        assert silent.answer() in ([BATCH_ROWS], [BATCH_ROWS, BATCH_ROWS])
        await until(lambda: len(silent.unanswered), 1)
        fill(engine, settings, ["third"])
        move(engine, up, "third")
        await until(lambda: scalar(engine, "select count(*) from streams.outbox where topic = :up", up=up), 0)
        assert silent.answer() == [1]
    finally:
        stop.set()
        while not running.done():
            silent.answer()
            await asyncio.sleep(0.02)
    await running
    assert waiting(engine) == count


class RefusesNeighbours:
    """Refuses every request that has a bad record in it, as brokers do (KIP-467)."""

    def __init__(self, records: RecordProducer, bad: Sequence[bytes]) -> None:
        self.records = records
        self.bad = bad

    async def send_all(self, records: Iterable[NewRecord]) -> "asyncio.Future[Outcomes]":
        records = list(records)
        if not any(record.key in self.bad for record in records):
            return await self.records.send_all(records)
        future: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        future.set_result([ProduceError("INVALID_RECORD", retriable=False, may_be_neighbour=True)] * len(records))
        return future


@pytest.mark.requirement(
    "Faults of others", "c05: a row is set aside only if it was refused alone, so no valid row is set aside for another"
)
async def test_only_the_bad_rows_of_a_refused_request_are_set_aside(
    database: Database, records: RecordProducer, settings: Settings, engine: Engine
) -> None:
    fill(engine, settings, [str(number) for number in range(40)])
    relay = Relay(database.bookkeeping, RefusesNeighbours(records, [b"7", b"23"]), settings)
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    await until(lambda: waiting(engine), 0)
    stop.set()
    await running
    aside = rows(engine, "select key from streams.outbox where failed_at is not null order by id")
    assert [row["key"] for row in aside] == [b"7", b"23"]
    assert relay.acknowledged == 38


@pytest.mark.requirement(
    "Faults of others", "c05: rows whose timestamp the brokers refuse wait, since the clock of the sender is wrong"
)
async def test_a_refused_timestamp_is_the_fault_of_the_clock(
    database: Database,
    records: RecordProducer,
    settings: Settings,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The topic accepts no time of the last years. No row is set aside, the log names the clock, later all go out."""
    topic = f"{settings.topic_prefix}document.deleted"
    limit = "message.timestamp.after.max.ms", "message.timestamp.before.max.ms"
    await asyncio.to_thread(alter, settings, topic, dict.fromkeys(limit, "0"))
    fill(engine, settings, ["a", "b"])
    relay = Relay(database.bookkeeping, records, settings)
    # Brokers answer INVALID_RECORD if several timestamps of a request are refused. Then each row is sent alone.
    assert [await relay.step(), await relay.step()] == [0, 0]
    assert scalar(engine, "select count(*) from streams.outbox where failed_at is not null") == 0
    told = [(record.message, str(record.__dict__.get("error"))) for record in caplog.records]
    assert any("check the clock" in line for _, line in told), told
    await asyncio.to_thread(alter, settings, topic, dict.fromkeys(limit, "9223372036854775807"))
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    await until(lambda: waiting(engine), 0)
    stop.set()
    await running


def alter(settings: Settings, topic: str, values: dict[str, str]) -> None:
    """Set configuration values of a topic."""
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in values.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = admin_client(settings.kafka_bootstrap_servers)
    admin.incremental_alter_configs([resource])[resource].result(10)
    topic_resource = ConfigResource(ResourceType.TOPIC, topic)
    wait_for(lambda: _has(admin, topic_resource, values), "the broker to have the values")


def _has(admin: AdminClient, resource: ConfigResource, values: dict[str, str]) -> bool:
    """Return whether the broker uses these values. It takes them over a moment after it has confirmed them."""
    found = admin.describe_configs([resource])[resource].result(10)
    return all(found[name].value == value for name, value in values.items())


@pytest.mark.requirement("Faults of others", "R22: an idle relay asks less often where a look takes long")
@pytest.mark.parametrize(("look", "pause"), [(0.001, 0.02), (0.05, 0.2), (0.432, 0.5)])
async def test_the_pause_between_two_looks_grows_with_their_cost(
    database: Database, records: RecordProducer, settings: Settings, look: float, pause: float
) -> None:
    relay = Relay(database.bookkeeping, records, settings.model_copy(update={"outbox_poll_interval": 0.02}))
    relay._look_seconds = look
    assert relay._pause() == pytest.approx(pause)
