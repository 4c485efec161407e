"""Records of third-party producers: unusual headers, as librdkafka returns them."""

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from streams import headers
from streams.delivery.settlement.records import RetryState, history_entry, read_history, retry_record
from streams.transport.kafka.records import to_record
from tests.support.factories import a_delivery


def a_message(message_headers: list[tuple[str, str | bytes | None]]) -> Message:
    return Message(
        topic="document.deleted",
        partition=0,
        offset=7,
        value=b"value",
        headers=message_headers,
        timestamp=(TIMESTAMP_CREATE_TIME, 1_700_000_000_000),
    )


def test_a_header_without_a_value_has_an_empty_one() -> None:
    """Kafka allows it, and a forwarded record keeps the header."""
    record = to_record(a_message([("x", None), ("y", b"\xff"), ("z", "text")]))
    assert record.headers == (("x", b""), ("y", b"\xff"), ("z", b"text"))
    assert (record.offset, record.timestamp_type) == (7, "CreateTime")


def test_a_record_without_headers_has_none() -> None:
    assert to_record(a_message([])).headers == ()


@pytest.mark.parametrize("broken", [b"no json", b"\xff\xfe", b'{"attempt": 1}', b""])
def test_an_invalid_history_is_ignored(broken: bytes) -> None:
    """An invalid header of a third-party producer must not prevent a retry."""
    delivery = a_delivery(headers=((headers.HISTORY, broken),))
    assert read_history(delivery.record.headers) == []

    entries = [*read_history(delivery.record.headers), history_entry(1, 1, "it broke")]
    record = retry_record(delivery, "t", RetryState(seq=1, attempts=1, due_at=1, first_failed_at=1, history=entries))

    assert read_history(record.headers) == entries
    assert [name for name, _ in record.headers].count(headers.HISTORY) == 1
