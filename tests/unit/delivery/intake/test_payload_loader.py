"""Which payloads the loader removes after their deliveries."""

from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from schemas.event import new_event_id
from streams.codec.claim_check import ClaimCheck
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.delivery import PendingRecord
from streams.delivery.intake.payload_loader import ChunkPart, Loaded, PayloadLoader
from streams.settings import Settings
from streams.storage import open_store
from streams.transport.kafka.records import Assignment, Chunk
from tests.support.factories import a_delivery, a_handler, a_record

ENGINE = create_async_engine("postgresql+psycopg://nowhere.invalid/none")
"""Never connected: these tests do not use the database."""


@pytest.mark.requirement(
    "Faults of others", "R11: the payload of a topic that several applications read is removed by its age only"
)
@pytest.mark.parametrize(("removal", "removals"), [("age", 0), ("success", 1)])
async def test_a_payload_is_removed_after_its_handlers_only_if_no_other_application_reads_it(
    tmp_path: Path, removal: Literal["age", "success"], removals: int
) -> None:
    """By default the loader keeps it. Without a database, the other removal only starts, which is enough here."""
    settings = Settings(storage_url=f"file:{tmp_path}")
    assert Settings.model_fields["claim_check_removal"].default == "age"
    claims = ClaimCheck(1024, 2048, lambda: open_store(settings))
    ticket = claims.put(new_event_id(), b"payload")
    loader = PayloadLoader(
        claims, ENGINE, DatabaseGate(ENGINE), BreakerRegistry([]), by_topic={"t": (a_handler(),)}, removal=removal
    )
    record = a_record(value=ticket.value)
    assignment = Assignment(record.topic, record.partition)
    chunk = Chunk(assignment, [record])
    loaded = await loader.load(ChunkPart(chunk, {record.offset: ticket}))
    assert isinstance(loaded[record.offset], Loaded)
    delivery = a_delivery(assignment=assignment)
    delivery.record.value, delivery.pending = record.value, PendingRecord(chunk, 0, 1)
    loader.release([delivery])
    assert len(loader._removals) == removals
    loader.close()
    assert claims.get(ticket) == b"payload"
