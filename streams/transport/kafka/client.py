"""Settings of the project as librdkafka's, and the first question to the brokers. No Faust."""

import logging
from typing import TypeAlias

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from streams.settings import Settings
from streams.topics import MAX_RECORD_BYTES, RETRY_RECORD_ROOM
from streams.transport.kafka.errors import BrokersUnreachableError, StartError
from streams.transport.kafka.group import Group

ClientConfig: TypeAlias = dict[str, str | int | float | bool]

client_logger = logging.getLogger(f"{__name__}.librdkafka")
"""Where librdkafka's own lines go, from whichever thread polls."""

CLASSIC_SESSION_MS = 10_000
CLASSIC_HEARTBEAT_MS = 2_500
UNKNOWN_TOPIC_SECONDS = 3.0
"""How long a topic may be unknown, such as just after it was made, before a record for it is refused."""


def client_config(settings: Settings) -> ClientConfig:
    """Connection settings for any librdkafka client; STREAMS_KAFKA_CONFIG comes last and wins."""
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
    """Settings of the consumer of one group. What the guarantees rest on cannot be overridden.

    Sizes and waits were measured: the default `fetch.queue.backoff.ms` of a second makes a consumer seven times
    slower once its local queue is full, and since a pause throws the local queue away it is kept small.
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
        "auto.offset.reset": "earliest",
    }


def producer_config(settings: Settings, delivery_timeout: float) -> ClientConfig:
    """Settings of the producer: idempotent, acknowledged by all in-sync replicas, keys placed as Java places them."""
    return {
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 100_000,
        # As large as the largest topic takes: the copy of a record that a tier or a DLQ gets has more headers.
        "message.max.bytes": MAX_RECORD_BYTES + RETRY_RECORD_ROOM,
        "topic.metadata.propagation.max.ms": round(min(UNKNOWN_TOPIC_SECONDS, delivery_timeout / 2) * 1000),
        **client_config(settings),
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "acks": "all",
        "delivery.timeout.ms": round(delivery_timeout * 1000),
    }


def check_brokers(settings: Settings) -> ClusterMetadata:
    """The cluster's brokers and topics, asked once within `kafka_request_timeout`.

    Raises BrokersUnreachableError where none answers, StartError where librdkafka refuses the settings. Blocks: call
    it from a thread.
    """
    try:
        admin = AdminClient({**client_config(settings), "log_level": 0})
    except KafkaException as error:
        message = f"librdkafka refuses the Kafka settings: {reason(error)}"
        raise StartError(message) from error
    try:
        return admin.list_topics(timeout=settings.kafka_request_timeout)
    except KafkaException as error:
        message = (
            f"no Kafka broker answers at {settings.kafka_bootstrap_servers} "
            f"(STREAMS_KAFKA_BOOTSTRAP_SERVERS): {reason(error)}"
        )
        raise BrokersUnreachableError(message) from error


def reason(error: KafkaException) -> str:
    """The text of what librdkafka raised."""
    first = error.args[0] if error.args else error
    text = getattr(first, "str", None)
    return str(text()) if callable(text) else str(first)


def is_fatal(error: KafkaError) -> bool:
    """True when the client is dead for good. By the code: what poll delivers says `fatal() == False` even then."""
    return error.code() == KafkaError._FATAL or error.fatal()  # noqa: SLF001 - the client's name for its own error
