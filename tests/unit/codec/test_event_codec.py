"""Bytes to events and back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import DocumentDeleted, Event
from schemas.event import event_time, new_event_id, with_time
from streams import headers
from streams.codec import Codec, DecodeError, SchemaMissingError, build_codec
from streams.schema_registry.export import export
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue, UnknownEventError
from tests.support.factories import CATALOGUE, SETTINGS, an_event, make_message

DELETED = next(topic for topic in BUILT_IN if topic.event is DocumentDeleted)

CODEC: Codec = build_codec(SETTINGS, CATALOGUE)


@pytest.mark.requirement("Schemas", "an event comes back as it went")
@given(st.text(), st.text(), st.one_of(st.none(), st.text()), st.datetimes(timezones=st.just(UTC)))
def test_an_event_comes_back_as_it_went(document: str, tenant: str, file_id: str | None, at: datetime) -> None:
    event = an_event(document, tenant).model_copy(update={"file_id": file_id, "occurred_at": at})
    assert CODEC.decode("document.deleted", CODEC.encode(event).value) == event


@pytest.mark.requirement("Schemas", "Confluent's wire format, the key, CloudEvents headers")
@pytest.mark.requirement("Personal data", "traces: only `traceparent` is written, there are no spans yet")
def test_the_record_has_the_wire_format_the_key_and_the_cloudevents_headers() -> None:
    event = an_event("d1")
    record = CODEC.encode(event)
    assert record.value[:1] == b"\x00"
    assert (record.topic, record.key) == ("document.deleted", b"d1")
    told = {name: value or b"" for name, value in record.headers}
    assert told["ce_specversion"] == b"1.0"
    assert told["ce_id"] == str(event.event_id).encode()
    assert told["ce_type"] == b"document.deleted"
    assert told["content-type"] == b"application/avro"
    assert len(told[headers.TRACEPARENT]) == 55


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "decode"),
        (b"", "decode"),
        (b'{"json": true}', "decode"),
        (b"\x00\x00\x00\x27\x0f", "unknown-schema"),
        (CODEC.encode(an_event()).value[:-3], "decode"),
        (CODEC.encode(an_event()).value + b"more", "decode"),
        (CODEC.encode(make_message()).value, "validation"),
    ],
    ids=["null", "empty", "json", "unknown-id", "cut-short", "too-long", "another-topic-s"],
)
def test_what_is_no_event_of_the_topic_is_refused_with_its_reason(value: bytes | None, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        CODEC.decode("document.deleted", value)
    assert refused.value.reason == reason


@given(st.binary(max_size=200))
def test_foreign_bytes_never_raise_anything_else(garbage: bytes) -> None:
    prefix = CODEC.encode(an_event()).value[:5]
    for value in (garbage, prefix + garbage):
        try:
            CODEC.decode("document.deleted", value)
        except DecodeError as error:
            assert error.reason in {"decode", "validation", "unknown-schema"}  # noqa: PT017 - any of them may come


def test_an_event_without_a_topic_is_refused_by_name() -> None:
    class Stray(Event):
        pass

    with pytest.raises(UnknownEventError, match="Stray"):
        CODEC.encode(Stray())


@pytest.mark.requirement("Schema evolution", "readers resolve old writers' schemas")
def test_releases_that_share_a_folder_each_go_on_with_their_own_version(tmp_path: Path) -> None:
    """The previous release writes its own version while a newer one exists, and reads the newer one's records."""

    class Wider(DocumentDeleted):
        batch: str | None = None

    Wider.__name__ = "DocumentDeleted"
    old, new = (Catalogue([replace(DELETED, event=event)], SETTINGS) for event in (DocumentDeleted, Wider))
    (topic,) = old
    export(old, tmp_path)
    (added,) = export(new, tmp_path)
    settings = Settings(schema_registry_url=f"file:{tmp_path}")
    before, after = build_codec(settings, old), build_codec(settings, new)

    event = an_event()
    written = before.encode(event).value
    assert int.from_bytes(written[1:5], "big") < added.id
    assert after.decode(topic.name, written).model_dump() == {**event.model_dump(), "batch": None}
    newer = Wider(**event.model_dump(), batch="b")
    assert before.decode(topic.name, after.encode(newer).value) == event


def test_a_class_that_was_changed_and_not_exported_cannot_be_written() -> None:
    """A field that is missing in its schema would be lost silently."""

    class Wider(DocumentDeleted):
        batch: str | None = None

    codec = build_codec(SETTINGS, Catalogue([replace(DELETED, event=Wider)], SETTINGS))
    with pytest.raises(SchemaMissingError, match="run `streams schemas export`"):
        codec.encode(Wider(document_id="d", dataset_id="s", doc_form="f", batch="b"))


@pytest.mark.requirement("Schemas", "event ids are UUIDv7")
@given(st.integers(0, (1 << 48) - 1))
def test_event_ids_are_uuid7_and_carry_their_time(milliseconds: int) -> None:
    made = new_event_id(milliseconds)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    if milliseconds < 253_402_300_800_000:
        at = event_time(made)
        assert at is not None
        assert round(at.timestamp() * 1000) == milliseconds


def test_other_uuids_carry_no_time() -> None:
    assert event_time(UUID("5b0c3c5e-5d54-4b5d-9c5e-3a5c7d1b2f10")) is None


@pytest.mark.requirement("Events for later", "`publish(event, at=…)`, at any distance in time")
@given(st.uuids(), st.integers(0, (1 << 48) - 1))
def test_an_id_of_another_time_is_a_uuid7_of_that_time_and_the_same_each_time(event_id: UUID, moment: int) -> None:
    moved = with_time(event_id, moment)
    assert (moved.version, moved.variant, moved.int >> 80) == (7, "specified in RFC 4122", moment)
    assert moved == with_time(with_time(event_id, 0), moment)
    assert moved.int & (1 << 62) - 1 == event_id.int & (1 << 62) - 1


@pytest.mark.requirement(
    "Events for later",
    "the expiry as a CloudEvents header; nothing for topics whose events never expire",
)
def test_an_expiry_travels_in_the_header_of_cloudevents_and_only_where_there_is_one() -> None:
    """In UTC, whatever its offset. A time without an offset is rejected."""
    at = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert dict(CODEC.encode(an_event(), at).headers)["ce_expirytime"] == b"2026-03-01T10:00:00+00:00"
    assert "ce_expirytime" not in dict(CODEC.encode(an_event()).headers)
    with pytest.raises(ValueError, match="no UTC offset"):
        CODEC.encode(an_event(), at.replace(tzinfo=None))


@pytest.mark.requirement(
    "Events for later",
    "the expiry as a CloudEvents header; nothing for topics whose events never expire",
)
def test_a_topic_whose_events_never_expire_takes_no_expiry() -> None:
    with pytest.raises(ValueError, match=r"message\.created: its events never expire"):
        CODEC.encode(make_message(), datetime.now(tz=UTC))


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)),  # noqa: DTZ001 - their offset is drawn beside them
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)),
)
def test_times_in_headers_come_back(moment: datetime, offset: timedelta) -> None:
    moment = moment.replace(tzinfo=timezone(offset))
    assert headers.last_time([("t", headers.time_text(moment))], "t") == moment


@pytest.mark.requirement(
    "Events for later",
    "the expiry as a CloudEvents header; nothing for topics whose events never expire",
)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"2026-03-01T10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        (b"2026-03-01t10:00:00.5z", datetime(2026, 3, 1, 10, 0, 0, 500_000, tzinfo=UTC)),
        (b"2026-03-01T12:00:00+02:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        (b"2026-03-01T10:00:00", None),
        (b"tomorrow", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_foreign_times_are_read_or_say_nothing(value: bytes, expected: datetime | None) -> None:
    assert headers.last_time([("t", b"2000-01-01T00:00:00Z"), ("t", value)], "t") == expected
    assert headers.last_time([("t", value)], "other") is None
