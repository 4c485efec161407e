"""The Kafka transport under Faust: polling, chunks, pausing and offset commits. Knows no event."""

from streams.transport.kafka.errors import (
    BrokersUnreachableError,
    NotSupportedError,
    ProduceError,
    StartError,
    TransportError,
)

__all__ = ["BrokersUnreachableError", "NotSupportedError", "ProduceError", "StartError", "TransportError"]
