"""Values that no honest producer sends: each is an event or a DecodeError, never another exception."""

import json
from pathlib import Path
from typing import Annotated
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import field_validator

from schemas import Event, Personal
from schemas.event import event_time, new_event_id
from schemas.registry import FileRegistry
from streams.codec import Codec, DecodeError, PayloadElsewhereError
from streams.codec.claim_check import LONGEST_TICKET, TICKET_MAGIC, ClaimCheck, Ticket, TicketError
from streams.codec.encryption import ENCRYPTED_MAGIC, Encryptor, is_encrypted
from streams.schema_registry.export import export
from streams.storage.filesystem import Folder
from streams.topics import BUILT_IN, Catalogue, Topic
from tests.support.factories import SETTINGS

TOPIC = "order.placed"
LARGEST = 5000
KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
RAISED: dict[str, Exception] = {
    error.__class__.__name__: error
    for error in (TypeError("t"), KeyError("k"), AttributeError("a"), ZeroDivisionError("z"), RecursionError("r"))
}


class OrderPlaced(Event):
    order_id: str
    name: Annotated[str, Personal] = ""

    @field_validator("order_id")
    @classmethod
    def check_order_id(cls, value: str) -> str:
        """Raise what the id names. Pydantic wraps only ValueError and AssertionError."""
        if value in RAISED:
            raise RAISED[value]
        return value


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    topics = Catalogue((*BUILT_IN, Topic(TOPIC, OrderPlaced, key="order_id", pool="low")), SETTINGS)
    folder = tmp_path_factory.mktemp("registry")
    export(topics, folder)
    files = FileRegistry(folder)
    return Codec(
        files, files, topics, "test", Encryptor(KEY), ClaimCheck(2000, LARGEST, lambda: Folder(Path("unused")))
    )


def forged(**changed: object) -> bytes:
    """Return a ticket with changed fields."""
    event_id = new_event_id()
    ticket = Ticket.of(event_id, b"payload")
    fields = {"key": ticket.key, "size": ticket.size, "sha256": ticket.sha256, **changed}
    return TICKET_MAGIC + json.dumps(fields).encode()


LAST_ID = UUID(int=((1 << 48) - 1 << 80) | 0x7 << 76 | 0b10 << 62)


@pytest.mark.requirement("Faults of others", "H1: a forged ticket is a dead letter, never the end of a worker")
@pytest.mark.parametrize(
    "value",
    [
        forged(key="claims/20260101/" + "-" * 36),
        forged(key="claims/20260101/" + "a" * 36),
        forged(key=f"claims/20260101/{UUID(int=4)}"),
        forged(key=f"claims/19990101/{new_event_id()}"),
        forged(key=f"claims/108890802/{LAST_ID}"),
        forged(key=f"claims/20260101/{LAST_ID}"),
        forged(key="claims/٢٠٢٦٠١٠١/" + str(new_event_id())),
        forged(key=Ticket.of(new_event_id(), b"").key.upper()),
        forged(size=-1),
        forged(size=True),
        forged(size=10**40),
        forged(size=LARGEST + 1),
        forged(size=1.5),
        forged(sha256="x" * 64),
        forged(sha256=""),
        TICKET_MAGIC + b"[" * 5000,
        TICKET_MAGIC + b"[" * (LONGEST_TICKET - 1),
        TICKET_MAGIC + forged()[1:].decode().encode("utf-16"),
        forged(more="x" * LONGEST_TICKET),
        TICKET_MAGIC,
        TICKET_MAGIC + b"\xff",
    ],
    ids=lambda _: "ticket",  # the value has an id of its own in each process
)  # fmt: skip
def test_a_forged_ticket_cannot_be_read(codec: Codec, value: bytes) -> None:
    """Ids that are no UUIDv7, years that no calendar has, other days, other digits, sizes, nesting, encodings."""
    with pytest.raises(DecodeError) as refused:
        codec.decode(TOPIC, value)
    assert not isinstance(refused.value, PayloadElsewhereError)


@pytest.mark.requirement("Faults of others", "H1: a forged ticket is a dead letter, never the end of a worker")
@given(st.binary(max_size=300))
def test_random_tickets_raise_nothing_else(value: bytes) -> None:
    try:
        ticket = Ticket.read(TICKET_MAGIC + value)
    except TicketError:
        return
    assert event_time(ticket.event_id) is not None


@pytest.mark.requirement("Faults of others", "H1: a forged ticket is a dead letter, never the end of a worker")
def test_an_id_beyond_the_calendar_has_no_time() -> None:
    """`datetime` ends with the year 9999, and 48 bits of milliseconds with the year 10889."""
    assert event_time(LAST_ID) is None
    last = event_time(new_event_id(253_402_300_799_999))
    assert last is not None
    assert last.year == 9999
    assert event_time(new_event_id(253_402_300_800_000)) is None


@pytest.mark.requirement("Faults of others", "R2: whatever building the event raises is `validation`")
@pytest.mark.parametrize("name", RAISED)
def test_whatever_a_validator_raises_is_a_validation_error(codec: Codec, name: str) -> None:
    """Personal values are masked in it, as in pydantic's own errors."""
    sent = OrderPlaced.model_construct(order_id=name, name="Ada Lovelace", event_id=new_event_id())
    value = codec.encode_inline(sent.model_copy(update={"occurred_at": OrderPlaced(order_id="o").occurred_at})).value
    with pytest.raises(DecodeError, match=f"a validator raised {name}") as refused:
        codec.decode(TOPIC, value)
    assert refused.value.reason == "validation"


@pytest.mark.requirement("Faults of others", "L3: a value that begins with byte 1 is not taken for an encrypted one")
@pytest.mark.parametrize("value", [b"", b"clear", b"gAAAAA", b"x" * 99, b"\xff" * 99, ENCRYPTED_MAGIC * 99])
def test_a_first_byte_does_not_make_an_encrypted_value(codec: Codec, value: bytes) -> None:
    """Such a value is no event. On a topic with secrets it is encrypted like any other value."""
    sent = ENCRYPTED_MAGIC + value
    assert not is_encrypted(sent)
    with pytest.raises(DecodeError, match="it is not one"):
        codec.decode(TOPIC, sent)
    sealed = codec.encryptor.encrypt(sent)
    assert is_encrypted(sealed)
    assert codec.encryptor.decrypt(sealed) == sent
    with pytest.raises(DecodeError, match="it is not one"):
        codec.decode(TOPIC, sealed)


@pytest.mark.requirement("Faults of others", "L3: a value that begins with byte 1 is not taken for an encrypted one")
@given(st.binary(max_size=200))
def test_what_is_encrypted_is_recognised(value: bytes) -> None:
    assert is_encrypted(Encryptor(KEY).encrypt(b"\x00" + value))
