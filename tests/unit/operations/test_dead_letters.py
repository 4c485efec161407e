"""The headers of a replayed record, and the index row from a dead letter's headers alone."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from streams import headers
from streams.delivery.dead_letter import DeadLetterInfo
from streams.delivery.errors import Reason
from streams.delivery.settlement.dead_letters.dead_letter import dead_record
from streams.observability.error_text import ErrorText
from streams.operations.dead_letters.index import DeadLetter
from streams.operations.dead_letters.rebuild import index_row
from streams.operations.dead_letters.replay import Restart, origin_timestamp, plain_headers, replay_headers
from streams.transport.kafka.records import Record

EVENT_ID = UUID("0199c0de-0000-7000-8000-000000000001")
CAME = (("ce_id", str(EVENT_ID).encode()), ("traceparent", b"00-1-2-01"), ("own", b"\xff\x00"))
ORIGINAL = Record("document.deleted", 3, 42, 1_700_000_000_123, "CreateTime", b"d1", b"\x00value", CAME)
DEATH = DeadLetterInfo(
    reason=Reason.EXHAUSTED,
    error=ErrorText("builtins.OSError", "no such file", "Traceback …"),
    attempts=4,
    first_failed_at=1_700_000_001_000,
    died_at=1_700_000_009_000,
    group="streams.low",
    handler="clean-document",
    event_id=EVENT_ID,
)


def the_dead(record: Record = ORIGINAL, death: DeadLetterInfo = DEATH) -> Record:
    out = dead_record(record, "document.deleted.streams.dlq", death)
    return Record(out.topic, 1, 7, 1_700_000_009_500, "CreateTime", out.key, out.value, out.headers)


def a_letter() -> DeadLetter:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return DeadLetter(
        id="document.deleted.streams.dlq:1:7",
        topic="document.deleted",
        partition=3,
        offset=42,
        event_id=EVENT_ID,
        handler="clean-document",
        tenant_id="t1",
        reason="exhausted",
        error_type="builtins.OSError",
        error_message="no such file",
        attempts=4,
        first_failed_at=at,
        died_at=at,
        replayed_at=None,
        replayed_by=None,
        dlq_topic="document.deleted.streams.dlq",
        dlq_partition=1,
        dlq_offset=7,
    )


def test_the_headers_of_a_death_come_off_and_leave_those_that_came() -> None:
    assert plain_headers(the_dead()) == CAME


@pytest.mark.requirement(
    "Events for later",
    "`expires_at`: not attempted, `failure`, reason `expired`; first deliveries, retries, in batches, "
    "long work; `on_dead`; replay",
)
def test_a_replay_does_not_expire() -> None:
    """A replayed record must be attempted, however old it is."""
    expired = Record(
        "document.deleted", 3, 42, 1, "CreateTime", b"d1", b"v", (*CAME, ("ce_expirytime", b"2020-01-01T00:00:00Z"))
    )
    assert plain_headers(the_dead(expired)) == CAME


def test_a_replay_names_its_handler_its_fence_and_its_origin_and_starts_anew() -> None:
    sent = replay_headers(the_dead(), a_letter(), Restart(seq=5, replays=1, pool="low"), due_at=99)
    assert sent[: len(CAME)] == CAME
    assert dict(sent[len(CAME) :]) == {
        headers.HANDLER: b"clean-document",
        headers.SEQ: b"5",
        headers.ATTEMPT: b"0",
        headers.DUE_AT: b"99",
        headers.ORIGIN_TOPIC: b"document.deleted",
        headers.ORIGIN_PARTITION: b"3",
        headers.ORIGIN_OFFSET: b"42",
        headers.ORIGIN_TIMESTAMP: b"1700000000123",
        headers.REPLAYS: b"1",
    }


def test_a_record_that_says_nothing_of_its_origin_counts_from_its_own_time() -> None:
    assert origin_timestamp(ORIGINAL) == ORIGINAL.timestamp


def test_the_index_is_known_from_the_headers() -> None:
    row = index_row(the_dead(), "document.deleted")
    assert row == {
        "id": "document.deleted.streams.dlq:1:7",
        "dlq_topic": "document.deleted.streams.dlq",
        "dlq_partition": 1,
        "dlq_offset": 7,
        "topic": "document.deleted",
        "partition": 3,
        "offset": 42,
        "event_id": EVENT_ID,
        "handler": "clean-document",
        "reason": "exhausted",
        "error_type": "builtins.OSError",
        "error_message": "no such file",
        "attempts": 4,
        "first_failed_at": datetime.fromtimestamp(1_700_000_001, tz=UTC),
        "died_at": datetime.fromtimestamp(1_700_000_009, tz=UTC),
    }


def test_a_foreign_record_in_a_dlq_is_indexed_with_what_is_known() -> None:
    foreign = Record(
        "document.deleted.streams.dlq",
        *(ORIGINAL.partition, ORIGINAL.offset, ORIGINAL.timestamp, ORIGINAL.timestamp_type),
        *(ORIGINAL.key, ORIGINAL.value),
        headers=((headers.DLQ_EVENT_ID, b"no uuid"),),
    )
    row = index_row(foreign, "document.deleted")
    assert (row["event_id"], row["handler"], row["reason"], row["attempts"]) == (None, None, "unknown", 0)
    assert row["died_at"] == row["first_failed_at"] == datetime.fromtimestamp(1_700_000_000.123, tz=UTC)
