"""Converts librdkafka's messages to the project's records."""

from functools import partial
from typing import cast

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from streams.headers import Headers
from streams.transport.kafka.records import Record

_BYTES = {bytes}


def to_record(message: Message) -> Record:
    """Return the record of a consumed message without an error. A header without a value gets an empty one."""
    kind, timestamp = message.timestamp()
    # By position: one is created per record, and keyword arguments would cost a third more.
    return Record(
        message.topic() or "",
        _known(message.partition()),
        _known(message.offset()),
        timestamp,
        "LogAppendTime" if kind == TIMESTAMP_LOG_APPEND_TIME else "CreateTime",
        message.key(),
        message.value(),
        partial(_headers, message),
    )


def _headers(message: Message) -> Headers:
    pairs = message.headers()
    if not pairs:
        return ()
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if {type(value) for _, value in pairs} == _BYTES:
        return tuple(cast("list[tuple[str, bytes]]", pairs))
    return tuple((name, _bytes(value)) for name, value in pairs)


def _bytes(value: str | bytes | None) -> bytes:
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else value


def _known(number: int | None) -> int:
    if number is None:
        message = "a consumed message has no partition or offset"
        raise ValueError(message)
    return number
