"""An event's row in the outbox, and the record that is read from it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event import event_time, new_event_id
from streams.codec import build_codec
from streams.delivery.errors import Reason
from streams.delivery.intake.id_window import IdWindow
from streams.publishing.outbox.outbox import (
    Outbox,
    OutboxRow,
    headers_from_json,
    headers_from_text,
    headers_to_json,
    outbox_row,
    with_scheduled_id,
)
from tests.support.factories import CATALOGUE, SETTINGS, an_event, make_message

CODEC = build_codec(SETTINGS, CATALOGUE)


@given(st.lists(st.tuples(st.text(), st.binary())).map(tuple))
def test_headers_come_back_as_they_went(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert headers_from_json(headers_to_json(headers)) == headers


@pytest.mark.parametrize(
    "stored",
    [
        '[["name"]]',
        '[["name", "not base64!"]]',
        "[[]]",
        '[["a", "b", "c"]]',
        '[["a", 1]]',
        '[[1, "aGk="]]',
        '[[null, "aGk="]]',
        '[{"a": 1, "aGk=": 2}]',
        "{}",
        '""',
        "1",
        "no json",
        "[" * 1100 + "]" * 1100,
        "[" * 100_000,
    ],
)
def test_foreign_json_is_refused(stored: str) -> None:
    with pytest.raises(ValueError, match=r"headers|Expecting value"):
        headers_from_text(stored)


def test_a_row_carries_the_record_as_the_codec_made_it() -> None:
    encoded = CODEC.encode(an_event())
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    row = outbox_row(encoded, at)
    assert (row["topic"], row["key"], row["value"]) == ("document.deleted", b"d1", encoded.value)
    assert (row["event_id"], row["due_at"], row["tenant_id"]) == (encoded.event_id, at, "t1")


def test_a_tenant_that_no_column_can_hold_keeps_no_event_from_its_row() -> None:
    assert outbox_row(CODEC.encode(an_event(tenant="t\x001")))["tenant_id"] == "t\ufffd1"


@pytest.mark.requirement("Events for later", "`publish(event, at=…)`, at any distance in time")
@given(st.timedeltas(timedelta(seconds=1), timedelta(days=4000)), st.integers(1, 30))
def test_an_event_for_later_is_of_its_time_to_the_ledger(distance: timedelta, retention: int) -> None:
    """At its time, its id is neither too old nor too far ahead. Its original id would be."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    event = an_event().model_copy(update={"event_id": new_event_id(round(now.timestamp() * 1000))})
    later = with_scheduled_id(event, now + distance, now)
    then = IdWindow.at(now + distance, retention)
    assert then.rejection(later.event_id) is None
    made_at = event_time(later.event_id)
    assert made_at is not None
    assert abs(made_at - (now + distance)) <= timedelta(milliseconds=1)
    assert later == event.model_copy(update={"event_id": later.event_id})
    assert with_scheduled_id(event, now + distance, now) == later
    if distance > timedelta(days=retention + 1):
        refusal = then.rejection(event.event_id)
        assert refusal is not None
        assert refusal[0] is Reason.EXPIRED


@pytest.mark.requirement("Events for later", "it tells the id under which the event travels")
def test_an_event_whose_time_has_come_keeps_its_id() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    event = an_event()
    assert with_scheduled_id(event, now, now) is event
    assert with_scheduled_id(event, now - timedelta(days=3), now) is event


@pytest.mark.requirement("Events for later", "it tells the id under which the event travels")
def test_publishing_tells_the_id_under_which_the_event_travels() -> None:
    """The id of a scheduled event has the scheduled time. The record and its row have the same id."""
    session, event = Session(), an_event()
    assert Outbox(session, CODEC).publish(event) == event.event_id
    at = datetime.now(tz=UTC) + timedelta(days=400)
    event_id = Outbox(session, CODEC).publish(event, at=at, expires_at=at + timedelta(hours=1))
    row = session.added[-1]
    assert isinstance(row, OutboxRow)
    assert event_id != event.event_id
    assert row.__dict__["event_id"] == event_id
    sent = dict(headers_from_json(row.__dict__["headers"]))
    assert sent["ce_id"] == str(event_id).encode()
    assert sent["ce_expirytime"] == (at + timedelta(hours=1)).isoformat().encode()
    with pytest.raises(ValueError, match="offset"):
        Outbox(session, CODEC).publish(event, at=at.replace(tzinfo=None))


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        outbox_row(CODEC.encode(an_event()), datetime(2026, 1, 2, 3, 4))  # noqa: DTZ001 - what is to be refused


class Session:
    """Keeps the objects that were added."""

    def __init__(self) -> None:
        self.added: list[object] = []

    def add(self, instance: object) -> None:
        self.added.append(instance)


def test_a_bad_event_fails_in_its_sender_and_leaves_nothing() -> None:
    session = Session()
    broken = make_message(message_tokens=2**70)
    with pytest.raises((ValueError, OverflowError), match="too large"):
        Outbox(session, CODEC).publish(broken)
    assert session.added == []
    Outbox(session, CODEC).publish(an_event())
    assert [type(row) for row in session.added] == [OutboxRow]
