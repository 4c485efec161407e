"""Large values: stored by their size, read back whole, by tickets that can name nothing else."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from schemas import Event, Secret
from schemas.event import event_time, new_event_id
from schemas.registry import FileRegistry, RegisteredSchema
from streams import headers
from streams.codec import Codec, DecodeError, PayloadElsewhereError
from streams.codec.claim_check import (
    CONTENT_TYPE,
    SURELY_SMALL,
    TICKET_MAGIC,
    ClaimCheck,
    Ticket,
    TicketError,
    folder_of,
    may_be_large,
    remove_old,
)
from streams.delivery.dead_letter import DeadLetterInfo
from streams.delivery.errors import Reason
from streams.delivery.intake.payload_loader import split_chunk
from streams.delivery.settlement.dead_letters.dead_letter import dead_record
from streams.delivery.settlement.records import unread_record
from streams.observability.error_text import ErrorText
from streams.operations.dead_letters.show import show_value
from streams.schema_registry.export import avro_schema, export
from streams.storage import FileMissingError
from streams.storage.filesystem import Folder
from streams.topics import BUILT_IN, Catalogue, Topic
from streams.transport.kafka.records import Assignment, Chunk
from tests.support.factories import SETTINGS, a_record

TOPIC = "report.requested"
LIMIT, LARGEST = 2000, 5000


class Part(BaseModel):
    title: str
    numbers: list[int]


class ReportRequested(Event):
    report_id: str
    text: str
    parts: list[Part] = []  # noqa: RUF012 - Pydantic copies it


class LetterSent(Event):
    letter_id: str
    code: Annotated[str, Secret]


def catalogue() -> Catalogue:
    letter = Topic("letter.sent", LetterSent, key="letter_id", pool="low")
    return Catalogue((*BUILT_IN, Topic(TOPIC, ReportRequested, key="report_id", pool="low"), letter), SETTINGS)


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "storage")


@pytest.fixture
def codec(tmp_path: Path, store: Folder) -> Codec:
    export(catalogue(), tmp_path / "registry")
    claims = ClaimCheck(LIMIT, LARGEST, lambda: store)
    files = FileRegistry(tmp_path / "registry")
    return Codec(files, files, catalogue(), "test", claims=claims)


@pytest.mark.requirement(
    "Large events",
    "bodies above 512 KiB through the storage, transparent to both sides: outbox, producers, command, a handler's own",
)
def test_a_large_value_is_in_the_storage_and_a_ticket_in_the_record(codec: Codec, store: Folder) -> None:
    event = ReportRequested(report_id="r1", text="x" * 3000)
    record = codec.encode(event)
    assert len(record.value) < 300
    assert (record.key, dict(record.headers)[headers.CONTENT_TYPE]) == (b"r1", CONTENT_TYPE)
    ticket = Ticket.read(record.value)
    made_at = event_time(event.event_id)
    assert made_at is not None
    assert ticket.key == f"claims/{made_at:%Y%m%d}/{event.event_id}"
    assert ticket.event_id == event.event_id
    assert codec.claims is not None
    assert codec.decode(TOPIC, codec.claims.get(ticket)) == event
    assert store.keys(folder_of(made_at.date())) == [ticket.key]
    with pytest.raises(PayloadElsewhereError) as elsewhere:
        codec.decode(TOPIC, record.value)
    assert elsewhere.value.ticket == ticket
    assert codec.encode(event).value == record.value, "publishing it again overwrites the same payload"


@pytest.mark.requirement(
    "Large events",
    "bodies above 512 KiB through the storage, transparent to both sides: outbox, producers, command, a handler's own",
)
def test_a_value_at_the_limit_goes_to_kafka_as_it_is(codec: Codec, store: Folder) -> None:
    empty = len(codec.encode(ReportRequested(report_id="r1", text="")).value)
    fits = codec.encode(ReportRequested(report_id="r1", text="x" * (LIMIT - empty - 1)))
    assert len(fits.value) == LIMIT
    assert fits.value[:1] == b"\x00"
    assert codec.encode(ReportRequested(report_id="r1", text="x" * (LIMIT - empty))).value[:1] == TICKET_MAGIC
    assert len(store.keys(folder_of(datetime.now(tz=UTC).date()))) == 1


@pytest.mark.requirement("Large events", "bounded: the largest body by setting, memory piece by piece")
def test_what_is_too_large_or_secret_is_refused(codec: Codec, store: Folder) -> None:
    with pytest.raises(ValueError, match=f"the limit is {LARGEST}"):
        codec.encode(ReportRequested(report_id="r1", text="x" * LARGEST))
    with pytest.raises(ValueError, match="with a secret") as refused:
        codec.encode(LetterSent(letter_id="l1", code="1" * 3000))
    assert "1111" not in str(refused.value)
    without_time = ReportRequested(report_id="r", text="x" * 3000, event_id=UUID(int=5))
    with pytest.raises(ValueError, match="carries no time"):
        codec.encode(without_time)
    assert store.keys(folder_of(datetime.now(tz=UTC).date())) == []


@pytest.mark.requirement("Large events", "a missing or foreign payload is a dead letter; a ticket leads nowhere else")
@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"{}",
        b"[1]",
        json.dumps({"key": "upload_files/t/secret", "size": 1, "sha256": ""}).encode(),
        json.dumps({"key": f"claims/20260101/../../{UUID(int=1)}", "size": 1, "sha256": ""}).encode(),
    ],
)
def test_a_ticket_leads_to_payloads_only(codec: Codec, told: bytes) -> None:
    with pytest.raises(TicketError, match="it is not one"):
        Ticket.read(TICKET_MAGIC + told)
    with pytest.raises(DecodeError, match="it is not one") as refused:
        codec.decode(TOPIC, TICKET_MAGIC + told + b"    ")
    assert not isinstance(refused.value, PayloadElsewhereError)


@pytest.mark.requirement("Large events", "a missing or foreign payload is a dead letter; a ticket leads nowhere else")
def test_a_payload_that_is_not_the_tickets_is_refused(codec: Codec, store: Folder) -> None:
    ticket = Ticket.read(codec.encode(ReportRequested(report_id="r1", text="x" * 3000)).value)
    assert codec.claims is not None
    store.write(ticket.key, b"something else")
    with pytest.raises(TicketError, match="is not the published one"):
        codec.claims.get(ticket)
    with pytest.raises(TicketError, match="the limit is"):
        codec.claims.get(Ticket(ticket.key, LARGEST + 1, ticket.sha256))
    store.delete(ticket.key)
    with pytest.raises(FileMissingError):
        codec.claims.get(ticket)


def test_dead_letters_carry_the_ticket_and_show_the_event(codec: Codec, store: Folder) -> None:
    value = codec.encode(ReportRequested(report_id="r1", text="x" * 3000)).value
    record = a_record(topic=TOPIC, value=value)
    dead = dead_record(record, "dlq", DeadLetterInfo(Reason.PERMANENT, ErrorText("E", "m", ""), 1, 1, 1, "g"))
    assert dead.value == value
    assert show_value(codec, TOPIC, value).event["report_id"] == "r1"  # type: ignore[index]  # JSON
    store.delete(Ticket.read(value).key)
    assert "is not in the storage" in str(show_value(codec, TOPIC, value).unreadable)


def test_a_record_that_cannot_be_read_now_goes_aside_for_each_handler_with_its_origin() -> None:
    put = unread_record(a_record(7, topic=TOPIC, value=TICKET_MAGIC, headers=(("ce_id", b"1"),)), "index", "tier", 99)
    told = dict(put.headers)
    assert (put.topic, put.value, told["ce_id"]) == ("tier", TICKET_MAGIC, b"1")
    assert (told[headers.HANDLER], told[headers.SEQ], told[headers.DUE_AT]) == (b"index", b"0", b"99")
    assert (told[headers.ORIGIN_TOPIC], told[headers.ORIGIN_OFFSET]) == (TOPIC.encode(), b"7")


class OneSchema:
    """A registry with the report's schema only."""

    schema = RegisteredSchema(1, f"{TOPIC}-value", 1, "", avro_schema(ReportRequested))

    def by_id(self, schema_id: int) -> RegisteredSchema | None:
        return self.schema if schema_id == 1 else None

    def own(self, subject: str, fields: frozenset[str]) -> RegisteredSchema | None:
        return self.schema if fields and subject == self.schema.subject else None


WHOLE = Codec(OneSchema(), FileRegistry(), catalogue(), "test")


TEXTS = st.text(max_size=30)
PARTS = st.builds(Part, title=TEXTS, numbers=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))


@given(TEXTS, TEXTS, st.lists(PARTS, max_size=4), st.integers(1, 2500))
def test_what_is_surely_small_never_encodes_to_more(report: str, text: str, parts: list[Part], times: int) -> None:
    """The fast check may wrongly say yes, but never no."""
    event = ReportRequested(report_id=report, text=text * times, parts=parts)
    if not may_be_large(event):
        assert len(WHOLE.encode_inline(event).value) <= SURELY_SMALL


@pytest.mark.requirement("Large events", "bounded: the largest body by setting, memory piece by piece")
@given(st.lists(st.one_of(st.none(), st.integers(1, 50)), min_size=1, max_size=30), st.integers(1, 60))
def test_pieces_keep_the_order_and_stay_below_the_bound(sizes: list[int | None], most: int) -> None:
    chunk = Chunk(Assignment("t", 0), [a_record(offset) for offset in range(len(sizes))])
    tickets = {offset: Ticket("k", size, "") for offset, size in enumerate(sizes) if size is not None}
    pieces = split_chunk(chunk, tickets, most)
    assert [record for piece in pieces for record in piece.chunk.records] == chunk.records
    assert {offset: ticket for piece in pieces for offset, ticket in piece.tickets.items()} == tickets
    for piece in pieces:
        assert set(piece.tickets) <= {record.offset for record in piece.chunk.records}
        assert sum(ticket.size for ticket in piece.tickets.values()) <= most or len(piece.tickets) == 1


@pytest.mark.requirement("Large events", "nothing is kept for ever")
def test_payloads_go_by_the_day_of_their_event(store: Folder) -> None:
    """Payloads of events older than the ledger's rows are deleted. The others stay."""
    days = [date(2026, 3, day) for day in (1, 2, 3)]
    for day in days:
        store.write(f"{folder_of(day)}/{new_event_id()}", b"x")
    assert remove_old(store, date(2026, 3, 2), 30) == 2
    assert [len(store.keys(folder_of(day))) for day in days] == [0, 0, 1]
    assert remove_old(store, date(2026, 3, 2), 30) == 0
