"""Publishing events: in a transaction (`Outbox`) or straight to Kafka (`EventProducer`)."""

from streams.publishing.outbox import Outbox
from streams.publishing.producer import AsyncEventProducer, BadEventError, EventProducer, PublishError

__all__ = ["AsyncEventProducer", "BadEventError", "EventProducer", "Outbox", "PublishError"]
