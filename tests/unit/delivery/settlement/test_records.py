"""Retry and DLQ records: the original stays byte for byte; added headers are replaced and limited in size."""

import json
import struct
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import headers
from streams.delivery.dead_letter import DeadLetterInfo
from streams.delivery.delivery import read_history
from streams.delivery.errors import Reason
from streams.delivery.settlement.dead_letters.dead_letter import dead_letter_info, dead_record
from streams.delivery.settlement.decision import after_deferral, after_expiry, after_failure
from streams.delivery.settlement.records import (
    RetryState,
    attempt_entry,
    history_entry,
    retry_record,
    retry_state,
    settled_values,
)
from streams.observability.error_text import ErrorText
from tests.support.factories import a_delivery, a_record

ORIGINAL = (("ce_id", b"1"), ("x", b"\xff\x00"), ("x", b"again"), ("traceparent", b"00-a-b-01"))
DEATH = DeadLetterInfo(
    Reason.EXHAUSTED, ErrorText("ValueError", "it broke", "stack"), 6, 1_000, 2_000, "streams.low", "clean", UUID(int=7)
)


def test_a_retry_record_keeps_key_value_and_the_event_s_headers_and_says_when_it_is_due() -> None:
    delivery = a_delivery("d1", offset=41, headers=ORIGINAL)
    record = retry_record(delivery, "tier", RetryState(seq=3, attempts=2, due_at=99, first_failed_at=7))
    assert (record.key, record.value, record.headers[: len(ORIGINAL)]) == (b"d1", b"value", ORIGINAL)
    assert headers.last_text(record.headers, headers.HANDLER) == "clean-document"
    assert headers.last_int(record.headers, headers.SEQ) == 3
    assert headers.last_int(record.headers, headers.ATTEMPT) == 2
    assert headers.last_int(record.headers, headers.DUE_AT) == 99
    assert headers.last_text(record.headers, headers.ORIGIN_TOPIC) == "document.deleted"
    assert headers.last_int(record.headers, headers.ORIGIN_OFFSET) == 41


def test_headers_of_an_earlier_retry_are_replaced_and_never_repeated() -> None:
    delivery = a_delivery("d1", headers=ORIGINAL)
    once = retry_record(delivery, "tier", RetryState(seq=1, attempts=1, due_at=1, first_failed_at=1))
    again = a_delivery("d1", headers=once.headers)
    twice = retry_record(again, "tier", RetryState(seq=2, attempts=2, due_at=2, first_failed_at=1))
    assert [name for name, _ in twice.headers].count(headers.SEQ) == 1
    assert headers.last_int(twice.headers, headers.SEQ) == 2


def test_the_history_keeps_the_last_attempts_only() -> None:
    delivery = a_delivery("d1")
    entries: list[object] = [history_entry(run, run, "e" * 5000) for run in range(1, 9)]
    record = retry_record(delivery, "t", RetryState(seq=8, attempts=8, due_at=1, first_failed_at=1, history=entries))
    kept = read_history(record.headers)
    assert [entry["attempt"] for entry in kept if isinstance(entry, dict)] == [4, 5, 6, 7, 8]
    assert len(headers.last(record.headers, headers.HISTORY) or b"") < 2_000


@pytest.mark.requirement("Delivery", "a DLQ with all headers, replay with a fresh budget")
def test_a_dead_letter_carries_both_families_of_headers_in_their_encodings() -> None:
    record = dead_record(a_record(17, partition=3, headers=ORIGINAL), "document.deleted.streams.dlq", DEATH)
    assert record.headers[: len(ORIGINAL)] == ORIGINAL
    added = dict(record.headers[len(ORIGINAL) :])
    assert added["__dlq.errors.topic"] == b"document.deleted"
    assert (added["__dlq.errors.partition"], added["__dlq.errors.offset"]) == (b"3", b"17")
    assert (added["__dlq.errors.group"], added["__dlq.errors.delivery.count"]) == (b"streams.low", b"6")
    assert added["__dlq.errors.message"] == b"it broke"
    assert added["__dlq.errors.reason"] == b"exhausted"
    assert added["kafka_dlt-original-partition"] == struct.pack(">i", 3)
    assert added["kafka_dlt-original-offset"] == struct.pack(">q", 17)
    assert added["kafka_dlt-original-timestamp"] == struct.pack(">q", 1_700_000_000_000)
    assert added["kafka_dlt-original-timestamp-type"] == b"CreateTime"
    assert added["kafka_dlt-exception-fqcn"] == b"ValueError"


def test_a_dead_letter_of_a_tier_names_its_origin() -> None:
    hop = retry_record(a_delivery("d1", offset=41), "t", RetryState(1, 1, 1, 1))
    record = dead_record(a_record(5, topic="t", headers=hop.headers), "dlq", DEATH)
    assert headers.last_int(record.headers, headers.DLQ_OFFSET) == 41
    assert not [name for name, _ in record.headers if name.startswith("streams-")]


@given(st.text(max_size=100_000), st.text(max_size=100_000))
def test_added_headers_stay_within_their_limit(message: str, stack: str) -> None:
    death = DeadLetterInfo(Reason.PERMANENT, ErrorText("E", message, stack), 1, 1, 1, "g", "h", UUID(int=7))
    record = dead_record(a_record(), "dlq", death)
    assert sum(len(name) + len(value or b"") for name, value in record.headers) <= headers.HEADERS_LIMIT


FAILED = datetime(2026, 3, 1, tzinfo=UTC)
NOW = round(FAILED.timestamp() * 1000) + 500
TEXT = ErrorText("ValueError", "it\x00broke", "stack")


def test_a_failed_attempt_is_added_to_the_record_s_history() -> None:
    first = a_delivery("d1", attempts=0)
    state = retry_state(first, after_failure(first, ValueError(), TEXT, now=NOW, spread=0.0))
    assert (state.seq, state.attempts, state.due_at, state.first_failed_at) == (1, 1, NOW + 10_000, NOW)
    record = retry_record(first, "tier", state)
    second = a_delivery("d1", headers=record.headers, seq=1, attempts=1)
    again = retry_state(second, after_failure(second, ValueError(), TEXT, now=NOW + 1, spread=0.0))
    assert [entry["attempt"] for entry in again.history if isinstance(entry, dict)] == [1, 2]


def test_a_deferral_leaves_the_history_and_the_first_failure_as_they_are() -> None:
    delivery = a_delivery("d1", seq=2, attempts=1)
    state = retry_state(delivery, after_deferral(delivery, "paused", after=2, now=NOW))
    assert state == RetryState(3, 1, NOW + 2000, None, [])


def test_a_row_s_values_are_those_of_the_outcome_without_a_nul() -> None:
    delivery = a_delivery("d1", seq=2, attempts=1)
    outcome = after_failure(delivery, ValueError(), TEXT, now=NOW, spread=0.0)
    values = settled_values(delivery, outcome, FAILED, "host:1", outcome.error_line)
    assert (values["status"], values["seq"], values["attempts"], values["lost"]) == ("retry", 3, 2, 0)
    assert values["error"] == "ValueError: it\ufffdbroke"
    (entry,) = json.loads(str(values["entry"]))
    assert entry == {
        "attempt": 2,
        "started_at": "2026-03-01T00:00:00+00:00",
        "completed_at": "2026-03-01T00:00:00.500000+00:00",
        "outcome": "retry",
        "error": "ValueError: it\ufffdbroke",
        "worker": "host:1",
    }
    known = attempt_entry(delivery, outcome, FAILED, "host:1")
    assert known.items() <= entry.items(), "what the row is searched for is in it"


def test_the_outcome_describes_the_dead_letter() -> None:
    delivery = a_delivery("d1", seq=2, attempts=1)
    info = dead_letter_info(delivery, after_expiry(delivery, TEXT, now=NOW), "streams.low")
    assert (info.reason, info.attempts, info.died_at, info.first_failed_at) == (Reason.EXPIRED, 1, NOW, NOW)
    assert (info.group, info.handler, info.event_id) == ("streams.low", "clean-document", delivery.event.event_id)
