"""Unmodified Faust: its own driver, and an agent that takes one event at a time. It decodes the same records."""

import io
import os
import sys
from collections.abc import AsyncIterable

import fastavro
import faust

from benchmarks.contenders.tally import Tally
from schemas.registry import FileRegistry, registry_folder

_found = FileRegistry(registry_folder("file:")).latest("message.created-value")
if _found is None:
    sys.exit("no schema of message.created")
SCHEMA = fastavro.parse_schema(_found.schema)

app = faust.App(
    os.environ["GROUP"],
    broker=f"kafka://{os.environ['STREAMS_KAFKA_BOOTSTRAP_SERVERS']}",
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    autodiscover=False,
)
topic = app.topic(os.environ["TOPIC"], value_serializer="raw", key_serializer="raw")
tally = Tally()
TIMED = "TIMED" in os.environ


@app.agent(topic)
async def consume(values: AsyncIterable[bytes]) -> None:
    """Decode and count."""
    async for value in values:
        buffer = io.BytesIO(value)
        buffer.seek(5)
        event = fastavro.schemaless_reader(buffer, SCHEMA, None)
        tally.add(1, event["occurred_at"].timestamp() if TIMED else None)  # type: ignore[index, call-overload, union-attr]  # Avro's value type
