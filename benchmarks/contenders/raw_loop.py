"""confluent-kafka and fastavro in a plain loop: the lowest cost of decoding the records, without a framework."""

import io
import os
import sys

import fastavro
from confluent_kafka import Consumer

from benchmarks.contenders.tally import Tally
from schemas.registry import FileRegistry, registry_folder

_BATCH = 2_000
_TIMED = "TIMED" in os.environ


def main() -> None:
    """Consume, decode, count, commit. With TIMED each event is counted alone, without batches."""
    tally = Tally()
    registered = FileRegistry(registry_folder("file:")).latest("message.created-value")
    if registered is None:
        sys.exit("no schema of message.created")
    schema = fastavro.parse_schema(registered.schema)
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["STREAMS_KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": os.environ["GROUP"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([os.environ["TOPIC"]])
    wanted = int(os.environ["EVENTS"])
    while tally.seen < wanted:
        messages = consumer.consume(1 if _TIMED else _BATCH, 0.1)
        for message in messages:
            value = message.value()
            if message.error() is None and value is not None:
                buffer = io.BytesIO(value)
                buffer.seek(5)
                event = fastavro.schemaless_reader(buffer, schema, None)
                if _TIMED and isinstance(event, dict):
                    tally.add(1, event["occurred_at"].timestamp())
        if messages and not _TIMED:
            tally.add(len(messages))
            consumer.commit(asynchronous=True)
    consumer.close()


if __name__ == "__main__":
    main()
