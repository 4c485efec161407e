"""The exporter's reading of Kafka: what cannot be read leaves out only itself, and the log says so once."""

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.monitoring import kafka_reader
from streams.operations.monitoring.kafka_reader import KafkaReader
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue
from tests.support.fakes.kafka.lag_brokers import UNREADABLE, Brokers
from tests.support.kafka_records import described

LOW, HIGH = "document.deleted", "message.created"
CATALOGUE = Catalogue([topic for topic in BUILT_IN if topic.name in {LOW, HIGH}], Settings(application="shop"))


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    found = Brokers([described(name, [1, 1]) for name in (LOW, HIGH, CATALOGUE.dlq(LOW))])
    times = SimpleNamespace(read=lambda _lags: {}, poll=lambda: None)
    monkeypatch.setattr(kafka_reader, "KafkaAdmin", found)
    monkeypatch.setattr(kafka_reader, "PartitionOffsets", found)
    monkeypatch.setattr(kafka_reader, "RecordTimes", lambda _settings: times)
    return found


@pytest.mark.requirement("Faults of others", "a partition without a leader leaves out only its own lag")
def test_a_partition_without_a_leader_leaves_out_only_itself(brokers: Brokers) -> None:
    dlq = CATALOGUE.dlq(LOW)
    brokers.unreadable = {(LOW, 1), (dlq, 0)}
    reader = KafkaReader(Settings(), CATALOGUE)
    with capture_logs() as logged:
        samples = [reader.read() for _ in range(3)]
    for sample in samples:
        assert {(one.topic, one.partition) for one in sample.lags} == {(LOW, 0), (HIGH, 0), (HIGH, 1)}
        ends = {(one.topic, one.partition): one.end_offset for one in sample.partitions}
        assert [place for place, end in ends.items() if end is None] == [(LOW, 1), (dlq, 0)]
    assert [line["what"] for line in logged] == ["offsets of partitions"]


@pytest.mark.requirement("Faults of others", "a partition without a leader leaves out only its own lag")
def test_a_group_without_a_coordinator_leaves_out_only_its_lag(brokers: Brokers) -> None:
    group = CATALOGUE.group("low")
    brokers.committed_ = {group: UNREADABLE}
    reader = KafkaReader(Settings(), CATALOGUE)
    with capture_logs() as logged:
        sample = reader.read()
    assert {(one.topic, one.partition) for one in sample.lags} == {(HIGH, 0), (HIGH, 1)}
    assert {one.end_offset for one in sample.partitions} == {10}
    assert [line["what"] for line in logged] == [f"committed offsets of {group}"]
    brokers.committed_ = {CATALOGUE.group(topic.pool): UNREADABLE for topic in CATALOGUE}
    with pytest.raises(KafkaRefusedError, match="no leader"):
        reader.read()
