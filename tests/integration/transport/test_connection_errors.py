"""What clients say about addresses that do not answer: the address, and each line once a minute."""

import logging

import pytest
from confluent_kafka import KafkaError

from schemas import DocumentDeleted
from streams.operations.dead_letters.records import RecordUnreadableError, partition_ends
from streams.operations.kafka_admin import KafkaAdmin
from streams.publishing import EventProducer, PublishError
from streams.settings import Settings
from streams.transport.kafka.client import LastConnectionError, RepeatFilter
from streams.transport.kafka.errors import BrokersUnreachableError
from streams.transport.kafka.poll_loop import hint_of

NOWHERE = Settings(kafka_bootstrap_servers="no-such-broker.invalid:9092", kafka_request_timeout=2.0)
ADDRESS = "the last connection error: .*no-such-broker.invalid"


@pytest.mark.requirement("Faults of others", "c19: a message names the address that does not answer")
def test_the_last_connection_error_is_kept() -> None:
    """Errors that are about no connection say nothing about an address."""
    last = LastConnectionError()
    last(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert str(last) == ""
    last(KafkaError(KafkaError._RESOLVE, "broker-1:9092/1: Failed to resolve\n'broker-1:9092'"))
    assert str(last) == "; the last connection error: broker-1:9092/1: Failed to resolve 'broker-1:9092'"


@pytest.mark.requirement("Faults of others", "c19: a message names the address that does not answer")
def test_a_sender_names_the_address() -> None:
    event = DocumentDeleted(tenant_id="t", document_id="d", dataset_id="s", doc_form="text_model")
    with EventProducer(NOWHERE, timeout=3.0) as producer, pytest.raises(PublishError, match=ADDRESS):
        producer.publish(event)


@pytest.mark.requirement("Faults of others", "c19: a message names the address that does not answer")
def test_a_command_names_the_address() -> None:
    """Each client asks in its own way: the admin client, a consumer for offsets, one for dead letters."""
    cluster = KafkaAdmin(NOWHERE)
    with pytest.raises(BrokersUnreachableError, match=ADDRESS):
        cluster.metadata()
    with pytest.raises(BrokersUnreachableError, match=ADDRESS):
        cluster.committed("a-group", [("a", 0)])
    with pytest.raises(BrokersUnreachableError, match=ADDRESS):
        cluster.answer(cluster.admin.describe_cluster(request_timeout=1.0), "describe the cluster")
    with pytest.raises(RecordUnreadableError, match=ADDRESS):
        partition_ends(NOWHERE, "a-topic")


@pytest.mark.requirement("Faults of others", "c17: a mixed group protocol is named, with what to do")
def test_a_group_of_two_protocols_has_a_hint() -> None:
    """Kafka says that the group does not exist; the cause is a member with the other protocol."""
    missing = KafkaError(KafkaError._FATAL, "Fatal error: Broker: The group id does not exist")
    assert "first stop all workers of the group" in hint_of(missing)
    assert hint_of(KafkaError(KafkaError._TRANSPORT, "connection refused")) == ""


@pytest.mark.requirement("Faults of others", "c19: a repeated line of librdkafka is logged once a minute")
def test_a_line_passes_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers make no difference. The next line says how many were left out; other lines pass."""
    now = [100.0]
    monkeypatch.setattr("streams.transport.kafka.client.time.monotonic", lambda: now[0])
    seen = RepeatFilter()

    def passes(text: str, *arguments: object) -> str | None:
        record = logging.LogRecord("librdkafka", logging.ERROR, "", 0, text, arguments, None)
        return record.getMessage() if seen.filter(record) else None

    assert passes("%s: failed after %d ms", "a:9092", 7) == "a:9092: failed after 7 ms"
    assert passes("%s: failed after %d ms", "a:9092", 8) is None
    assert passes("%s: failed after %d ms", "b:9092", 8) is not None
    now[0] += 60.0
    assert passes("%s: failed after %d ms", "a:9092", 9) == (
        "a:9092: failed after 9 ms (1 lines like this one were left out)"
    )
