"""Publishing in a transaction (`Outbox`), straight to Kafka (`EventProducer`), or through the platform's own calls."""

from streams.publishing.async_producer import AsyncEventProducer
from streams.publishing.bridges import blinker as blinker_bridge
from streams.publishing.bridges.blinker import SignalBridge, connect_signals
from streams.publishing.bridges.celery import CeleryTasks, celery_tasks
from streams.publishing.bridges.errors import BridgeError
from streams.publishing.errors import BadEventError, PublishError
from streams.publishing.outbox.outbox import Outbox
from streams.publishing.producer import EventProducer

__all__ = [
    "AsyncEventProducer",
    "BadEventError",
    "BridgeError",
    "CeleryTasks",
    "EventProducer",
    "Outbox",
    "PublishError",
    "SignalBridge",
    "blinker_bridge",
    "celery_tasks",
    "connect_signals",
]
