"""The timestamp of the oldest unsettled record: the next one that exists, read once for as long as it stays."""

import time

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.operations.monitoring.kafka_reader import KafkaReader
from streams.operations.monitoring.record_times import RecordTimes
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.processes.worker_process import PATIENCE, wait_for

SECTION = "Metrics"
START = round(time.time()) - 3_600
"""Seconds since the epoch. Every five minutes a broker deletes what is older than its topic's retention."""
pytestmark = [pytest.mark.timeout(240), pytest.mark.topics("document.deleted")]


def produce(settings: Settings, topic: str, *times: int, transaction: str = "") -> None:
    """Write one record per timestamp to the first partition. With `transaction`, abort or commit it."""
    config: dict[str, str | int | float | bool] = {"bootstrap.servers": settings.kafka_bootstrap_servers}
    if transaction:
        config["transactional.id"] = f"{settings.application}-{transaction}"
    producer = Producer(config)
    if transaction:
        producer.init_transactions(PATIENCE)
        producer.begin_transaction()
    errors: list[KafkaError | None] = []
    for at in times:
        producer.produce(
            topic, b"x", partition=0, timestamp=at * 1000, on_delivery=lambda error, _: errors.append(error)
        )
        assert producer.flush(PATIENCE) == 0
    assert errors == [None] * len(times)
    if transaction == "abort":
        producer.abort_transaction(PATIENCE)
    elif transaction:
        producer.commit_transaction(PATIENCE)


def commit(settings: Settings, group: str, topic: str, offset: int) -> None:
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": group, "enable.auto.commit": False}
    )
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


@pytest.mark.requirement(SECTION, "the exact age of the oldest unsettled record, markers of transactions skipped")
def test_records_of_aborted_transactions_and_markers_are_skipped(topics: Settings) -> None:
    """Only an aborted record: nothing waits. Then a committed one: its own timestamp counts, not the aborted one's."""
    catalogue = load_catalogue(topics)
    name = catalogue.topic("document.deleted").name
    reader = KafkaReader(topics, catalogue)
    produce(topics, name, START, transaction="abort")
    # Kafka writes the marker after it has confirmed the end of the transaction.
    wait_for(lambda: sum(lag.lag for lag in reader.read().lags) == 2, "the marker behind the record")
    assert reader.read().oldest == {(name, 0): None}
    produce(topics, name, START + 50, transaction="commit")
    wait_for(lambda: reader.read().oldest == {(name, 0): START + 50}, "the committed record")
    wait_for(lambda: sum(lag.lag for lag in reader.read().lags) == 4, "the marker behind it")
    commit(topics, catalogue.group("low"), name, 3)
    assert reader.read().oldest == {(name, 0): None}, "the marker of the commit is left"


@pytest.mark.requirement(SECTION, "a record is read once; one that is settled, deleted or replaced is read no more")
def test_a_record_is_read_again_only_after_the_group_has_moved_on(
    topics: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = load_catalogue(topics)
    name, group = catalogue.topic("document.deleted").name, catalogue.group("low")
    readings: list[int] = []
    read = RecordTimes._read

    def counted(self: RecordTimes, missing: object) -> None:
        readings.append(1)
        read(self, missing)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(RecordTimes, "_read", counted)
    reader = KafkaReader(topics, catalogue)
    produce(topics, name, START, START + 1, START + 2, START + 3)
    for _ in range(3):
        assert reader.read().oldest == {(name, 0): START}
    assert len(readings) == 1
    commit(topics, group, name, 1)
    assert reader.read().oldest == {(name, 0): START + 1}
    admin = AdminClient({"bootstrap.servers": topics.kafka_bootstrap_servers})
    for future in admin.delete_records([TopicPartition(name, 0, 3)]).values():
        future.result(PATIENCE)
    assert reader.read().oldest == {(name, 0): START + 3}, "retention has deleted the ones before"
    commit(topics, group, name, 4)
    assert reader.read().oldest == {}
    assert len(readings) == 3


@pytest.mark.requirement(SECTION, "records of unusual timestamps: no age that is wrong")
def test_a_record_from_the_future_has_its_own_timestamp(topics: Settings) -> None:
    catalogue = load_catalogue(topics)
    name = catalogue.topic("document.deleted").name
    ahead = round(time.time()) + 600
    produce(topics, name, ahead)
    assert KafkaReader(topics, catalogue).read().oldest == {(name, 0): ahead}
