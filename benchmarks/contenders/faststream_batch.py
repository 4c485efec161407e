"""FastStream with confluent-kafka, in batches; it decodes the same records."""

import asyncio
import io
import os
import sys

import fastavro
from faststream import FastStream
from faststream.confluent import KafkaBroker

from benchmarks.contenders.tally import Tally
from schemas.registry import FileRegistry, registry_folder

_found = FileRegistry(registry_folder("file:")).latest("message.created-value")
if _found is None:
    sys.exit("no schema of message.created")
SCHEMA = fastavro.parse_schema(_found.schema)
BATCH = 2_000

broker = KafkaBroker(os.environ["STREAMS_KAFKA_BOOTSTRAP_SERVERS"], logger=None)
tally = Tally()


@broker.subscriber(  # type: ignore[untyped-decorator]  # untyped, because the package may be missing
    os.environ["TOPIC"], group_id=os.environ["GROUP"], batch=True, max_records=BATCH, auto_offset_reset="earliest"
)
async def consume(values: list[bytes]) -> None:
    """Decode and count."""
    for value in values:
        buffer = io.BytesIO(value)
        buffer.seek(5)
        fastavro.schemaless_reader(buffer, SCHEMA, None)
    tally.add(len(values))


if __name__ == "__main__":
    asyncio.run(FastStream(broker).run())
