"""Produces what the Python client cannot: headers whose names are any bytes, as Kafka's protocol allows them."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import confluent_kafka

_FLUSH_MS = 20_000
_TOPIC, _VALUE, _KEY, _MSGFLAGS, _HEADER, _END, _COPY = 1, 4, 5, 7, 9, 0, 2
"""The tags of `rd_kafka_producev`'s arguments."""


def _library() -> ctypes.CDLL:
    """Return the librdkafka that the Python client brings."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(folder.glob("librdkafka*"))))
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_new.restype = ctypes.c_void_p
    return library


def produce_raw(
    servers: str, topic: str, value: bytes, key: bytes | None, headers: Sequence[tuple[bytes, bytes]]
) -> None:
    """Produce one record and wait until it is sent."""
    library, text = _library(), ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    assert library.rd_kafka_conf_set(conf, b"bootstrap.servers", servers.encode(), text, ctypes.c_size_t(512)) == 0
    client = ctypes.c_void_p(library.rd_kafka_new(0, conf, text, ctypes.c_size_t(512)))
    arguments: list[object] = [_TOPIC, topic.encode(), _VALUE, value, ctypes.c_size_t(len(value)), _MSGFLAGS, _COPY]
    if key is not None:
        arguments += [_KEY, key, ctypes.c_size_t(len(key))]
    for name, content in headers:
        arguments += [_HEADER, name, content, ctypes.c_size_t(len(content))]
    assert library.rd_kafka_producev(client, *arguments, _END) == 0
    assert library.rd_kafka_flush(client, _FLUSH_MS) == 0
    library.rd_kafka_destroy(client)
