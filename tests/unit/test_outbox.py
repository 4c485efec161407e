"""What an event becomes in the outbox, and what comes out of it again."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec import build_codec
from streams.publishing.outbox import Outbox, OutboxRow, headers_from_json, headers_to_json, outbox_row
from tests.unit.making import CATALOGUE, SETTINGS, a_message, an_event

CODEC = build_codec(SETTINGS, CATALOGUE)


@given(st.lists(st.tuples(st.text(), st.binary())).map(tuple))
def test_headers_come_back_as_they_went(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert headers_from_json(headers_to_json(headers)) == headers


@pytest.mark.parametrize("stored", [[["name"]], [["name", "not base64!"]], [[]], [["a", "b", "c"]], [["a", None]]])
def test_foreign_json_is_refused(stored: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="headers"):
        headers_from_json(stored)


def test_a_row_carries_the_record_as_the_codec_made_it() -> None:
    encoded = CODEC.encode(an_event())
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    row = outbox_row(encoded, at)
    assert (row["topic"], row["key"], row["value"]) == ("document.deleted", b"d1", encoded.value)
    assert (row["event_id"], row["due_at"]) == (encoded.event_id, at)


def test_a_time_without_an_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        outbox_row(CODEC.encode(an_event()), datetime(2026, 1, 2, 3, 4))  # noqa: DTZ001 - what is to be refused


class Session:
    """Keeps what it was given."""

    def __init__(self) -> None:
        self.added: list[object] = []

    def add(self, instance: object) -> None:
        self.added.append(instance)


def test_a_bad_event_fails_in_its_sender_and_leaves_nothing() -> None:
    session = Session()
    broken = a_message(message_tokens=2**70)
    with pytest.raises((ValueError, OverflowError), match="too large"):
        Outbox(session, CODEC).publish(broken)
    assert session.added == []
    Outbox(session, CODEC).publish(an_event())
    assert [type(row) for row in session.added] == [OutboxRow]
