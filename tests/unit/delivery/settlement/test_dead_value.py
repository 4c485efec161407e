"""Records with secret fields: what goes into a DLQ, what is encrypted, what is shown."""

from base64 import urlsafe_b64encode
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from schemas import Event, Personal, Secret
from schemas.registry import FileRegistry
from streams import headers
from streams.codec import Codec, DecodeError
from streams.codec.encryption import ENCRYPTED_MAGIC, Encryptor, SealedError
from streams.delivery.dead_letter import DeadLetterInfo
from streams.delivery.errors import Reason
from streams.delivery.settlement.dead_letters.dead_letter import dead_record
from streams.delivery.settlement.dead_letters.dead_value import dead_value
from streams.observability.error_text import ErrorText
from streams.operations.dead_letters.show import show_value
from streams.schema_registry.export import export
from streams.settings import SettingsError
from streams.topics import BUILT_IN, Catalogue, Topic
from tests.support.factories import SETTINGS, a_record

TOPIC = "code.sent"
OLD, NEW = (urlsafe_b64encode(byte * 32).decode() for byte in (b"o", b"n"))


class Recipient(BaseModel):
    mail: Annotated[str, Personal]
    token: Annotated[str, Secret] | None = None


class CodeSent(Event):
    code: Annotated[str, Secret]
    recipients: list[Recipient]
    mail_id: str


class CodeSentLater(CodeSent):
    """The event class of a version that does not mark the fields that the schema marks."""

    code: str


class Mode(StrEnum):
    A = "a"


class ModeSet(Event):
    """A secret that has no masked value."""

    mode: Annotated[Mode, Secret]


EVENT = CodeSent(code="493817", recipients=[Recipient(mail="ada@example.org", token="tok-123456789")], mail_id="m1")


def catalogue(event: type[Event] = CodeSent) -> Catalogue:
    mode = Topic("mode.set", ModeSet, key="event_id", pool="high")
    return Catalogue((*BUILT_IN, Topic(TOPIC, event, key="mail_id", pool="high"), mode), SETTINGS)


@pytest.fixture
def codec(tmp_path: Path) -> Codec:
    export(catalogue(), tmp_path)
    return a_codec(FileRegistry(tmp_path), catalogue())


def a_codec(files: FileRegistry, topics: Catalogue, encryptor: Encryptor | None = None) -> Codec:
    return Codec(files, files, topics, "test", encryptor)


def with_keys(codec: Codec, keys: str) -> Codec:
    return a_codec(codec._resolver.files, catalogue(), Encryptor(keys))


@pytest.mark.requirement(
    "Personal data",
    "a secret field: the DLQ copy is encrypted, and replayed whole; without a key it is masked",
)
def test_without_a_key_the_dead_letter_is_encoded_anew_with_its_secrets_masked(codec: Codec) -> None:
    """Personal fields stay whole: a dead letter is a record. It can still be read, by any tool that has the schema."""
    record = a_record(topic=TOPIC, value=codec.encode(EVENT).value)
    dead = dead_value(codec, TOPIC, record)
    assert dead.protection == "masked"
    read = codec.decode(TOPIC, dead.value)
    assert isinstance(read, CodeSent)
    assert (read.code, read.mail_id) == ("***", "m1")
    assert read.recipients == [Recipient(mail="ada@example.org", token="***")]
    death = DeadLetterInfo(Reason.PERMANENT, ErrorText("E", "m", ""), 1, 1, 1, "g")
    out = dead_record(record, "dlq", death, dead)
    assert headers.last_text(out.headers, headers.DLQ_PROTECTION) == "masked"
    assert out.value == dead.value


@pytest.mark.requirement(
    "Personal data",
    "a secret field: the DLQ copy is encrypted, and replayed whole; without a key it is masked",
)
def test_with_a_key_it_is_encrypted_and_comes_back_byte_for_byte(codec: Codec) -> None:
    value = codec.encode(EVENT).value
    with_key = with_keys(codec, OLD)
    dead = dead_value(with_key, TOPIC, a_record(topic=TOPIC, value=value))
    assert dead.protection == "encrypted"
    assert dead.value is not None
    assert b"493817" not in dead.value
    assert with_key.encryptor.decrypt(dead.value) == value
    assert with_key.decode(TOPIC, dead.value) == EVENT
    assert with_keys(codec, f"{NEW},{OLD}").decode(TOPIC, dead.value) == EVENT, "keys are changed one by one"


@pytest.mark.parametrize(("keys", "why"), [("", "set STREAMS_DLQ_KEY to its key"), (NEW, "does not have")])
def test_an_encrypted_value_that_cannot_be_decrypted_is_one_line(codec: Codec, keys: str, why: str) -> None:
    sealed = Encryptor(OLD).encrypt(codec.encode(EVENT).value)
    other = with_keys(codec, keys)
    with pytest.raises(SealedError, match=why):
        other.encryptor.decrypt(sealed)
    with pytest.raises(DecodeError, match=why):
        other.decode(TOPIC, sealed)
    assert dead_value(other, TOPIC, a_record(topic=TOPIC, value=sealed)).value == sealed, "it is not sealed twice"
    shown = show_value(other, TOPIC, sealed)
    assert (shown.value, shown.event) == (f"*** ({len(sealed)} bytes)", None)


@pytest.mark.requirement(
    "Personal data",
    "a secret field: the DLQ copy is encrypted, and replayed whole; without a key it is masked",
)
def test_what_cannot_be_read_or_masked_is_left_out(codec: Codec) -> None:
    cut = codec.encode(EVENT).value[:-4]
    dead = dead_value(codec, TOPIC, a_record(topic=TOPIC, value=cut))
    assert (dead.value, dead.protection) == (None, "removed")
    mode = codec.encode(ModeSet(mode=Mode.A)).value
    dead = dead_value(codec, "mode.set", a_record(topic="mode.set", value=mode))
    assert (dead.value, dead.protection) == (None, "removed")


def test_a_record_without_secrets_stays_byte_for_byte(codec: Codec) -> None:
    for value in (b"\xffwhatever", None):
        dead = dead_value(codec, "document.deleted", a_record(value=value))
        assert (dead.value, dead.protection) == (value, None)


@pytest.mark.requirement(
    "Personal data",
    "exports: the event that is shown is masked, its bytes are not shown; by the schema alone where the "
    "class does not mark",
)
def test_what_the_schema_marks_is_masked_where_the_class_does_not(codec: Codec) -> None:
    """A worker of another version, or a tool that has only the Avro file."""
    value = codec.encode(EVENT).value
    other = a_codec(codec._resolver.files, catalogue(CodeSentLater))
    assert dead_value(other, TOPIC, a_record(topic=TOPIC, value=value)).protection == "masked"
    shown = show_value(other, TOPIC, value)
    assert "493817" not in str(shown)
    assert "ada@" not in str(shown)
    gone = show_value(a_codec(codec._resolver.files, Catalogue((), SETTINGS)), "gone", value)
    assert gone.unreadable is not None


@pytest.mark.requirement(
    "Personal data",
    "exports: the event that is shown is masked, its bytes are not shown; by the schema alone where the "
    "class does not mark",
)
def test_an_event_is_shown_masked_and_its_bytes_are_not(codec: Codec) -> None:
    shown = show_value(codec, TOPIC, codec.encode(EVENT).value)
    assert shown.event["code"] == "***"  # type: ignore[index]  # JSON
    assert shown.event["recipients"] == [{"mail": "***", "token": "***"}]  # type: ignore[index]
    assert shown.event["mail_id"] == "m1"  # type: ignore[index]
    assert shown.value is not None
    assert shown.value.startswith("*** (")


@pytest.mark.requirement("Personal data", "errors repeat no marked value, nor a run of it; senders' errors neither")
def test_an_event_that_avro_refuses_is_not_repeated_by_the_error(codec: Codec) -> None:
    known = EVENT.model_dump(include={"event_id", "occurred_at", "tenant_id"})
    fields: dict[str, Any] = {**known, "code": ["493817"], "recipients": [], "mail_id": "m1"}
    bad = CodeSent.model_construct(**fields)
    with pytest.raises(ValueError, match="Avro rejects the event") as refused:
        codec.encode(bad)
    assert "493817" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_an_invalid_key_is_rejected_in_one_line() -> None:
    with pytest.raises(SettingsError, match="STREAMS_DLQ_KEY: not a Fernet key"):
        Encryptor("secret")
    assert Encryptor(" ").encrypt(b"x") == b"x"
    assert Encryptor(OLD).encrypt(b"x")[:1] == ENCRYPTED_MAGIC


@pytest.mark.requirement("Faults of others", "L3: a value that begins with byte 1 is not taken for an encrypted one")
@pytest.mark.parametrize("keys", ["", NEW])
def test_a_clear_value_that_begins_with_byte_1_does_not_stay_in_clear(codec: Codec, keys: str) -> None:
    """Its secrets cannot be found, so it is removed, or encrypted if there is a key."""
    record = a_record(topic=TOPIC, value=ENCRYPTED_MAGIC + b"493817")
    dead = dead_value(with_keys(codec, keys), TOPIC, record)
    assert dead.protection == ("encrypted" if keys else "removed")
    assert b"493817" not in (dead.value or b"")
    other = a_record(topic="document.deleted", value=ENCRYPTED_MAGIC + b"493817")
    assert dead_value(codec, "document.deleted", other).protection is None
