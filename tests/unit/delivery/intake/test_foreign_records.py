"""Records of third-party producers: unusual headers, as librdkafka returns them."""

from collections.abc import Callable

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from streams import headers
from streams.delivery.delivery import read_history
from streams.delivery.settlement.records import RetryState, history_entry, retry_record
from streams.publishing.outbox.outbox import headers_from_json, headers_to_json
from streams.transport.kafka.records import Record, to_record
from tests.support.factories import a_delivery
from tests.support.kafka_records import UnreadableHeaders


def a_message(message_headers: list[tuple[str, str | bytes | None]]) -> Message:
    return Message(
        topic="document.deleted",
        partition=0,
        offset=7,
        value=b"value",
        headers=message_headers,
        timestamp=(TIMESTAMP_CREATE_TIME, 1_700_000_000_000),
    )


@pytest.mark.requirement("Faults of others", "c06: a header without a value stays one, in every copy of the record")
def test_a_header_without_a_value_stays_one() -> None:
    """Kafka allows it. A forwarded record, the outbox and the ledger keep it."""
    record = to_record(a_message([("x", None), ("y", b"\xff"), ("z", "text"), ("x", b"")]))
    assert record.headers == (("x", None), ("y", b"\xff"), ("z", b"text"), ("x", b""))
    assert headers_from_json(headers_to_json(record.headers)) == record.headers
    assert headers.last(record.headers[:1], "x") is None
    assert (record.offset, record.timestamp_type) == (7, "CreateTime")


@pytest.mark.requirement("Faults of others", "c16: headers that the client cannot read are a dead letter")
@pytest.mark.parametrize("read", [lambda record: record.headers, lambda record: record.last_header("a")])
def test_headers_that_cannot_be_read_are_asked_for_once(read: Callable[[Record], object]) -> None:
    """The client leaves a broken list behind: a second call may end the process."""
    source = UnreadableHeaders()
    record = Record("t", 0, 0, 0, "CreateTime", None, None, source)
    record.drop_headers("streams-")
    assert read(record) in {(), None}
    assert (record.headers, record.last_header("a"), source.calls) == ((), None, 1)
    assert "cannot be read: 'utf-8' codec can't decode" in str(record.headers_error)


def test_a_record_without_headers_has_none() -> None:
    assert to_record(a_message([])).headers == ()
    assert to_record(a_message([])).last_header("a") is None


def test_one_header_is_read_without_the_others() -> None:
    """The last one counts, as bytes. The others are still there, and dropped ones are dropped."""
    record = to_record(a_message([("a", b"1"), ("streams-b", b"2"), ("a", "text")]))
    record.drop_headers("streams-")
    assert record.last_header("a") == b"text"
    assert record.headers == (("a", b"1"), ("a", b"text"))
    assert record.last_header("a") == b"text"


@pytest.mark.parametrize("broken", [b"no json", b"\xff\xfe", b'{"attempt": 1}', b"", b"[" * 100_000])
def test_an_invalid_history_is_ignored(broken: bytes) -> None:
    """An invalid header of a third-party producer must not prevent a retry."""
    delivery = a_delivery(headers=((headers.HISTORY, broken),))
    assert read_history(delivery.record.headers) == []

    entries = [*read_history(delivery.record.headers), history_entry(1, 1, "it broke")]
    record = retry_record(delivery, "t", RetryState(seq=1, attempts=1, due_at=1, first_failed_at=1, history=entries))

    assert read_history(record.headers) == entries
    assert [name for name, _ in record.headers].count(headers.HISTORY) == 1
