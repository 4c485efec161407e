"""Publishing: in a transaction (`Outbox`), straight to Kafka (`EventProducer`), or by what the platform calls."""

from streams.publishing.async_producer import AsyncEventProducer
from streams.publishing.blinker_bridge import SignalBridge, connect_signals
from streams.publishing.celery_bridge import CeleryTasks, celery_tasks
from streams.publishing.outbox import Outbox
from streams.publishing.producer import BadEventError, EventProducer, PublishError
from streams.publishing.transactions import BridgeError

__all__ = [
    "AsyncEventProducer",
    "BadEventError",
    "BridgeError",
    "CeleryTasks",
    "EventProducer",
    "Outbox",
    "PublishError",
    "SignalBridge",
    "celery_tasks",
    "connect_signals",
]
