"""The intake of a pool: large events use memory only while they are needed, and wait no longer than they must."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from schemas.event import new_event_id
from streams import headers
from streams.codec import build_codec
from streams.codec.claim_check import ClaimCheck
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.admission.database_gate import DatabaseGate
from streams.delivery.admission.schema_loader import SchemaLoader
from streams.delivery.dead_letter import UnreadableRecord
from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.intake import payload_loader
from streams.delivery.intake.background_tasks import BackgroundTasks
from streams.delivery.intake.decoding import Decoder
from streams.delivery.intake.intake import Intake
from streams.delivery.intake.payload_loader import PayloadLoader
from streams.delivery.scheduling import arrival
from streams.delivery.settlement.records import RetryState, retry_record
from streams.delivery.telemetry import Telemetry
from streams.headers import Headers
from streams.settings import Settings
from streams.storage import open_store
from streams.transport.kafka.records import Assignment, Chunk, Record
from tests.support.factories import CATALOGUE, SETTINGS, a_delivery, a_handler, an_event

ENGINE = create_async_engine("postgresql+psycopg://nowhere.invalid/none")
"""Never connected: these tests do not use the database."""
CODEC = build_codec(SETTINGS, CATALOGUE)
TOPIC = "document.deleted"
OLD = 1_700_000_000_000
"""Older than the ledger's retention, ms since the epoch."""


class Guard:
    """A guard that has registered every assignment."""

    is_isolating = False

    def is_registered(self, _assignment: Assignment) -> bool:
        return True

    async def register(self, _assignment: Assignment) -> None:
        """Do nothing."""


class Trial:
    """An intake whose scheduler and dead letters are lists."""

    def __init__(self, folder: Path) -> None:
        self.delivered: list[Delivery] = []
        self.dead: list[UnreadableRecord] = []
        settings = Settings(storage_url=f"file:{folder}")
        self.claims = ClaimCheck(1024, 8192, lambda: open_store(settings))
        handler, breakers, gate = a_handler(), BreakerRegistry([]), DatabaseGate(ENGINE)
        by_topic = {TOPIC: (handler,)}
        self.intake = Intake(
            Decoder(CODEC, CATALOGUE, {handler.name: handler}, by_topic, pool="low", window=30),
            self,  # type: ignore[arg-type]  # as the scheduler
            guard=Guard(),  # type: ignore[arg-type]  # it needs a database
            schemas=SchemaLoader(breakers, self.fail),
            payloads=PayloadLoader(self.claims, ENGINE, gate, breakers, by_topic=by_topic, removal="age"),
            forwarding=self,  # type: ignore[arg-type]  # as the forwarding
            background=BackgroundTasks(self.fail),
            telemetry=Telemetry("unit", CATALOGUE, ()),
            tier=lambda delay: f"tier-{delay:g}",
            delays=(0.0, 10.0),
            fail=self.fail,
        )

    def fail(self, error: BaseException) -> None:
        raise error

    def add(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        self.delivered.extend(deliveries)
        return []

    def add_retry(self, delivery: Delivery, _tier_delay: float) -> None:
        self.delivered.append(delivery)

    def dead_letter_topic(self, _read: UnreadableRecord) -> str:
        return "dlq"

    async def unreadable(self, read: UnreadableRecord) -> None:
        self.dead.append(read)

    def record(self, offset: int, payload: bytes, event_id: UUID, record_headers: Headers = ()) -> Record:
        """Return a record whose payload is in the storage."""
        ticket = self.claims.put(event_id, payload)
        return Record(TOPIC, 0, offset, now_ms(), "CreateTime", b"d1", ticket.value, record_headers)


def retry_headers(due_in: int) -> Headers:
    """Return the headers of a retry that is due in some ms."""
    return retry_record(a_delivery(), "tier", RetryState(1, 1, now_ms() + due_in)).headers


async def until_all(found: Sequence[object], count: int) -> None:
    async with asyncio.timeout(5):
        while len(found) < count:  # noqa: ASYNC110 - the lists have no event of their own
            await asyncio.sleep(0.01)


@pytest.mark.requirement("Large events", "payloads that give no delivery leave the pool's memory")
@pytest.mark.parametrize("place", ["topic", "tier"])
@pytest.mark.parametrize("kind", ["garbage", "expired"])
async def test_a_large_event_that_is_a_dead_letter_uses_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, kind: str
) -> None:
    """Five payloads, of which only two have room at a time. Then comes an event, which is delivered."""
    trial, assignment = Trial(tmp_path), Assignment(TOPIC, 0)
    old = an_event("d" * 2_000).model_copy(update={"event_id": new_event_id(OLD)})
    payload = b"no event" * 250 if kind == "garbage" else CODEC.encode(old).value
    monkeypatch.setattr(payload_loader, "MEMORY_LIMIT", 2 * len(payload) + 100)

    def accept(offset: int, value: bytes, event_id: UUID) -> None:
        if place == "topic":
            trial.intake.accept(Chunk(assignment, [trial.record(offset, value, event_id)]))
        else:
            record = trial.record(offset, value, event_id, retry_headers(0))
            trial.intake.accept_tier(Chunk(assignment, [record]), 0.0)

    assignment.deliver([trial.record(offset, payload, new_event_id()) for offset in range(6)])
    for offset in range(5):
        accept(offset, payload, old.event_id if kind == "expired" else new_event_id())
    await until_all(trial.dead, 5)
    event = an_event("d" * 1_500)
    accept(5, CODEC.encode(event).value, event.event_id)
    await until_all(trial.delivered, 1)
    assert trial.delivered[0].event.event_id == event.event_id
    trial.intake.close()


@pytest.mark.requirement("Faults and operations", "the clock stepping back, both protocols")
async def test_a_large_retry_waits_no_longer_when_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, assignment, event = Trial(tmp_path), Assignment(TOPIC, 0), an_event("d" * 2_000)
    record = trial.record(0, CODEC.encode(event).value, event.event_id, retry_headers(200))
    assert headers.last(record.headers, headers.DUE_AT) is not None
    assignment.deliver([record])
    trial.intake.accept_tier(Chunk(assignment, [record]), 0.0)
    await asyncio.sleep(0)
    monkeypatch.setattr(arrival, "now_ms", lambda: now_ms() - 3_600_000)
    assert trial.delivered == []
    await until_all(trial.delivered, 1)
    trial.intake.close()
