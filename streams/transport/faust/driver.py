"""The Faust driver for `librdkafka://`. The entry point `faust.transports` names it."""

from importlib.metadata import version
from typing import Any

from confluent_kafka import libversion
from faust.transport.base import Transport as FaustTransport
from faust.types import AppT
from yarl import URL

from streams.transport.faust.conductor import Conductor
from streams.transport.faust.consumer import Consumer
from streams.transport.faust.producer import FaustProducer
from streams.transport.kafka.errors import NotSupportedError


class Transport(FaustTransport):
    """Faust's Consumer, Conductor and Producer on librdkafka. It needs a StreamsApp."""

    Consumer = Consumer
    Conductor = Conductor
    Producer = FaustProducer

    driver_version = f"confluent-kafka={version('confluent-kafka')} librdkafka={libversion()[0]}"

    def __init__(self, url: list[URL], app: AppT, **kwargs: Any) -> None:
        if not hasattr(app, "groups"):
            message = "the librdkafka transport needs a streams.transport.faust.app.StreamsApp"
            raise NotSupportedError(message)
        super().__init__(url, app, **kwargs)
