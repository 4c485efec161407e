"""Records of third-party producers: unusual headers, as librdkafka returns them."""

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from streams import headers
from streams.delivery.delivery import read_history
from streams.delivery.settlement.records import RetryState, history_entry, retry_record
from streams.headers import Headers
from streams.publishing.outbox.outbox import headers_from_json, headers_to_json
from streams.transport.kafka.records import Record, to_record
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


@pytest.mark.requirement("Faults of others", "c06: a header without a value stays one, in every copy of the record")
def test_a_header_without_a_value_stays_one() -> None:
    """Kafka allows it. A forwarded record, the outbox and the ledger keep it."""
    record = to_record(a_message([("x", None), ("y", b"\xff"), ("z", "text"), ("x", b"")]))
    assert record.headers == (("x", None), ("y", b"\xff"), ("z", b"text"), ("x", b""))
    assert headers_from_json(headers_to_json(record.headers)) == record.headers
    assert headers.last(record.headers[:1], "x") is None
    assert (record.offset, record.timestamp_type) == (7, "CreateTime")


@pytest.mark.requirement("Faults of others", "c16: headers that the client cannot read are a dead letter")
def test_headers_that_cannot_be_read_are_asked_for_once() -> None:
    """The client leaves a broken list behind: a second call may end the process."""
    calls: list[int] = []

    def fail() -> Headers:
        calls.append(1)
        raise SystemError("returned a result with an exception set") from UnicodeDecodeError(
            "utf-8", b"h\xff", 1, 2, ""
        )

    record = Record("t", 0, 0, 0, "CreateTime", None, None, fail)
    record.drop_headers("streams-")
    assert (record.headers, record.headers, len(calls)) == ((), (), 1)
    assert "cannot be read: 'utf-8' codec can't decode" in str(record.headers_error)


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
