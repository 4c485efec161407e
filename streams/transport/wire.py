"""librdkafka's messages as the project's records."""

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from streams.headers import Headers
from streams.transport.record import Record


def to_record(message: Message) -> Record:
    """The record of a consumed message; the message carries no error. A header without a value has an empty one."""
    kind, timestamp = message.timestamp()
    return Record(
        topic=message.topic() or "",
        partition=_known(message.partition()),
        offset=_known(message.offset()),
        timestamp=timestamp,
        timestamp_type="LogAppendTime" if kind == TIMESTAMP_LOG_APPEND_TIME else "CreateTime",
        key=message.key(),
        value=message.value(),
        headers=_headers(message),
    )


def _headers(message: Message) -> Headers:
    pairs = message.headers()
    if not pairs:
        return ()
    return tuple((name, _bytes(value)) for name, value in (pairs.items() if isinstance(pairs, dict) else pairs))


def _bytes(value: str | bytes | None) -> bytes:
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else value


def _known(number: int | None) -> int:
    if number is None:
        message = "a consumed message has no partition or offset"
        raise ValueError(message)
    return number
