"""Kafka under Faust: polling, chunks, pausing, and the offsets that may be committed. Knows no event."""

from streams.transport.kafka.errors import (
    BrokersUnreachableError,
    NotSupportedError,
    ProduceError,
    StartError,
    TransportError,
)

__all__ = ["BrokersUnreachableError", "NotSupportedError", "ProduceError", "StartError", "TransportError"]
