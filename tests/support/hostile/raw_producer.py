"""Writes records by Kafka's own protocol: Produce version 3, record batches version 2 (KIP-98, KIP-82).

Client libraries refuse some records that brokers accept, such as a header whose name is no UTF-8. Others' clients write
them.
"""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiokafka.record.util import calc_crc32c

_PRODUCE, _VERSION = 0, 3
_NO_PRODUCER = struct.pack(">qhi", -1, -1, -1)
"""No producer id, epoch and sequence: the batch is neither idempotent nor transactional."""
_TIMEOUT = 30.0
_CREATE_TIME = 0


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record of any bytes."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[bytes, bytes | None]] = field(default=())
    timestamp: int = 0
    """Milliseconds."""


class BrokerRefusedError(Exception):
    """The broker refused a batch; `code` is its error code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the broker answered with error code {code}")
        self.code = code


class RawProducer:
    """A connection to one broker, which leads all partitions."""

    def __init__(self, bootstrap_servers: str) -> None:
        host, port = bootstrap_servers.split(",", maxsplit=1)[0].rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), _TIMEOUT)
        self._correlation = 0

    def send(self, topic: str, partition: int, records: Sequence[RawRecord]) -> int:
        """Write one batch. Returns the offset of its first record. Raises BrokerRefusedError."""
        batch = encode_batch(records)
        body = struct.pack(">hhi", -1, -1, int(_TIMEOUT * 1000))
        body += struct.pack(">i", 1) + _text(topic) + struct.pack(">ii", 1, partition)
        body += struct.pack(">i", len(batch)) + batch
        answer = self._call(body)
        # One topic with one partition: count, name, count, partition, error code, offset, time.
        at = 4 + 2 + len(topic.encode()) + 4
        _, code, offset = struct.unpack_from(">ihq", answer, at)
        if code:
            raise BrokerRefusedError(code)
        return int(offset)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _call(self, body: bytes) -> bytes:
        self._correlation += 1
        head = struct.pack(">hhi", _PRODUCE, _VERSION, self._correlation) + _text("raw")
        self._socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        (length,) = struct.unpack(">i", self._read(4))
        return self._read(length)[4:]

    def _read(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._socket.recv(count - len(parts))
            if not part:
                message = "the broker closed the connection"
                raise ConnectionError(message)
            parts += part
        return bytes(parts)


def encode_batch(records: Sequence[RawRecord]) -> bytes:
    """Return an uncompressed record batch."""
    first, last = min(one.timestamp for one in records), max(one.timestamp for one in records)
    encoded = b"".join(_encode(one, number, first) for number, one in enumerate(records))
    checked = struct.pack(">hiqq", _CREATE_TIME, len(records) - 1, first, last) + _NO_PRODUCER
    checked += struct.pack(">i", len(records)) + encoded
    rest = struct.pack(">ibI", -1, 2, calc_crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(rest)) + rest


def _encode(record: RawRecord, number: int, first: int) -> bytes:
    body = b"\0" + _varint(record.timestamp - first) + _varint(number) + _bytes(record.key) + _bytes(record.value)
    body += _varint(len(record.headers))
    for name, value in record.headers:
        body += _varint(len(name)) + name + _bytes(value)
    return _varint(len(body)) + body


def _bytes(value: bytes | None) -> bytes:
    return _varint(-1) if value is None else _varint(len(value)) + value


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack(">h", len(encoded)) + encoded


def _varint(number: int) -> bytes:
    """Return a zigzag varint of up to 64 bits."""
    rest = (number << 1) ^ (number >> 63)
    written = bytearray()
    while rest > 0x7F:
        written.append((rest & 0x7F) | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)
