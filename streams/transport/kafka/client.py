"""Maps the project's settings to librdkafka's, and checks that the brokers can be reached. Knows no Faust."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ClusterMetadata

from streams.settings import Settings
from streams.topics import MAX_RECORD_BYTES, RETRY_RECORD_ROOM
from streams.transport.kafka.errors import BrokersUnreachableError, StartError
from streams.transport.kafka.group import Group

ClientConfig: TypeAlias = dict[str, str | int | float | bool]

REPEAT_SECONDS = 60.0
"""How often the same line of librdkafka is logged. It writes one per failed connection: twenty per second."""
MAX_KNOWN_LINES = 1_000


class RepeatFilter(logging.Filter):
    """Lets a line pass once in REPEAT_SECONDS, and then says how many were left out. Numbers make no difference."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_at: dict[tuple[int, str], float] = {}
        self._left_out: dict[tuple[int, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a repetition."""
        text = record.getMessage()
        key = record.levelno, re.sub(r"\d+", "0", text)
        now = time.monotonic()
        if now - self._passed_at.get(key, -REPEAT_SECONDS) < REPEAT_SECONDS:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return False
        if len(self._passed_at) >= MAX_KNOWN_LINES:
            self._passed_at.clear()
            self._left_out.clear()
        self._passed_at[key] = now
        if left_out := self._left_out.pop(key, 0):
            record.msg, record.args = f"{text} ({left_out} lines like this one were left out)", ()
        return True


client_logger = logging.getLogger(f"{__name__}.librdkafka")
"""The logger for librdkafka's own lines and errors. They come from whichever thread polls."""
client_logger.addFilter(RepeatFilter())


class LastConnectionError:
    """The last connection error of a client, for messages about time-outs: librdkafka's `error_cb`.

    Its text names the address that does not answer. It is one that the brokers advertise, and may be another one than
    the bootstrap address, which does answer.
    """

    def __init__(self) -> None:
        self._text = ""

    def __call__(self, error: KafkaError) -> None:
        """Keep the error if it is about a connection."""
        if error.code() in _CONNECTION_ERRORS:
            self._text = " ".join(error.str().split())

    def __str__(self) -> str:
        return f"; the last connection error: {self._text}" if self._text else ""


_CONNECTION_ERRORS = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001 - the client's names for its own errors
    KafkaError._RESOLVE,  # noqa: SLF001 - as above
    KafkaError._SSL,  # noqa: SLF001 - as above
    KafkaError._TRANSPORT,  # noqa: SLF001 - as above
}

CLASSIC_SESSION_MS = 10_000
CLASSIC_HEARTBEAT_MS = 2_500
UNKNOWN_TOPIC_SECONDS = 3.0
"""How long a topic may be unknown before a record for it is rejected. A new topic is unknown for a moment."""


def client_config(settings: Settings) -> ClientConfig:
    """Return the connection settings for any librdkafka client. `STREAMS_KAFKA_CONFIG` overrides all others."""
    password = settings.kafka_sasl_password
    optional = {
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": None if password is None else password.get_secret_value(),
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "ssl.certificate.location": settings.kafka_ssl_certificate_location,
        "ssl.key.location": settings.kafka_ssl_key_location,
    }
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "client.id": settings.application,
        "reconnect.backoff.max.ms": 2_000,
        "socket.connection.setup.timeout.ms": round(settings.kafka_connect_timeout * 1000),
        **{name: str(value) for name, value in optional.items() if value is not None},
        **settings.kafka_config,
    }


def consumer_config(settings: Settings, group: Group) -> ClientConfig:
    """Return the settings of one group's consumer. Settings that the guarantees depend on cannot be overridden.

    Sizes and waits were measured. With the default `fetch.queue.backoff.ms` of one second, a consumer is seven times
    slower once its local queue is full. The local queue is small because a pause discards it.
    """
    protocol: ClientConfig = {"group.protocol": "consumer", "statistics.interval.ms": 2_000}
    if settings.group_protocol == "cooperative":
        protocol = {
            "group.protocol": "classic",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": CLASSIC_SESSION_MS,
            "heartbeat.interval.ms": CLASSIC_HEARTBEAT_MS,
        }
    return {
        # With the default of five minutes, added partitions are found so late. KIP-848 finds them by itself.
        "topic.metadata.refresh.interval.ms": 30_000,
        "fetch.queue.backoff.ms": 20,
        "fetch.wait.max.ms": 20,
        "fetch.min.bytes": 1,
        "fetch.message.max.bytes": 524_288,
        "queued.max.messages.kbytes": 4_096,
        "queued.min.messages": 10_000,
        "max.poll.interval.ms": 300_000,
        **protocol,
        **client_config(settings),
        "group.id": group.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Every jump is decided by `Positions`: none may be silent.
        "auto.offset.reset": "error",
    }


def producer_config(settings: Settings, delivery_timeout: float) -> ClientConfig:
    """Return the producer's settings: idempotent, `acks=all`, and the same partitioner as the Java client."""
    return {
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 100_000,
        # As large as the largest topic allows: a record's copy on a retry topic or a DLQ has more headers.
        "message.max.bytes": MAX_RECORD_BYTES + RETRY_RECORD_ROOM,
        "topic.metadata.propagation.max.ms": round(min(UNKNOWN_TOPIC_SECONDS, delivery_timeout / 2) * 1000),
        **client_config(settings),
        # A sender must never create a topic, with the broker's defaults for partitions and retention.
        "allow.auto.create.topics": False,
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "acks": "all",
        "delivery.timeout.ms": round(delivery_timeout * 1000),
    }


def check_brokers(settings: Settings) -> ClusterMetadata:
    """Return the cluster's brokers and topics. Blocks for up to `kafka_request_timeout`: call it from a thread.

    Raises:
        BrokersUnreachableError: No broker answers.
        StartError: librdkafka rejects the settings.
    """
    last = LastConnectionError()
    config: dict[str, Any] = {**client_config(settings), "log_level": 0, "error_cb": last}
    try:
        admin = AdminClient(config)
    except KafkaException as error:
        message = f"librdkafka rejects the Kafka settings: {reason(error)}"
        raise StartError(message) from error
    try:
        return admin.list_topics(timeout=settings.kafka_request_timeout)
    except KafkaException as error:
        admin.poll(0)  # calls `error_cb`
        raise unreachable(settings, f"{reason(error)}{last}") from error


def unreachable(settings: Settings, why: str) -> BrokersUnreachableError:
    """Return the error for brokers that do not answer. `why` is the reason, such as the last connection error."""
    message = f"no Kafka broker answers at {settings.kafka_bootstrap_servers} (STREAMS_KAFKA_BOOTSTRAP_SERVERS): {why}"
    return BrokersUnreachableError(message)


def reason(error: KafkaException) -> str:
    """Return the text of an error that librdkafka raised."""
    first = error.args[0] if error.args else error
    text = getattr(first, "str", None)
    return str(text()) if callable(text) else str(first)


def poll_reports(client: Producer, seconds: float, on_fatal: Callable[[KafkaException], None]) -> None:
    """Run the callbacks of what a producer receives within this time.

    confluent-kafka raises a fatal error once, in any thread that polls, and calls no `error_cb` with it. The reports of
    the records that it has ended come behind it.

    Args:
        client: The producer.
        seconds: How long to wait.
        on_fatal: Called with a fatal error.
    """
    try:
        client.poll(seconds)
    except KafkaException as error:
        if not is_fatal(error.args[0]):
            raise
        on_fatal(error)
        client.poll(0)


def is_fatal(error: KafkaError) -> bool:
    """Return True when the client can never work again.

    Compares the code: an error that `poll` reports returns False from `fatal()` even then.
    """
    return error.code() == KafkaError._FATAL or error.fatal()  # noqa: SLF001 - the client's name for its own error
