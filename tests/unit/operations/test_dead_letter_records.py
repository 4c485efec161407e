"""What cannot be read of the DLQs: it leaves out only its own letters, and the index keeps their rows."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from confluent_kafka import KafkaError
from sqlalchemy import Connection

from streams.codec import Codec
from streams.operations.dead_letters import records
from streams.operations.dead_letters.index import DeadLetter
from streams.operations.dead_letters.rebuild import Rebuilt, rebuild
from streams.operations.dead_letters.records import NoBrokerError, RecordUnreadableError, read_record, read_records
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue
from streams.transport.kafka.records import Record
from tests.support.fakes.kafka.dead_letter_topics import DeadLetterTopics, letter
from tests.support.kafka_records import described

SETTINGS = Settings(kafka_request_timeout=0.3)
UNKNOWN, HIDDEN = KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED
MISSING = "is not on Kafka, or this account may not see it"
LETTERS = (letter("a.dlq", 1), letter("b.dlq", 0), letter("b.dlq", 2), letter("c.dlq", 2, 1))


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> DeadLetterTopics:
    topics = {name: described(name, [1, 1]) for name in ("a.dlq", "b.dlq", "c.dlq")}
    found = DeadLetterTopics(topics, SETTINGS.kafka_request_timeout)
    monkeypatch.setattr(records, "Consumer", found)
    return found


def outcome(record: Record | RecordUnreadableError | None) -> object:
    return record.offset if isinstance(record, Record) else record and str(record)


def read(*letters: DeadLetter) -> dict[str, object]:
    return {one.id: outcome(record) for one, record in read_records(SETTINGS, letters)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda brokers: brokers.topics.pop("b.dlq"), f"b.dlq {MISSING}"),
        (lambda brokers: brokers.topics.update({"b.dlq": described("b.dlq", [], HIDDEN)}), "authorization failed"),
        (lambda brokers: brokers.topics.update({"b.dlq": described("b.dlq", [-1, 1])}), "b.dlq[0] has no leader now"),
        (lambda brokers: brokers.silent.add("b.dlq"), "does not return the dead letters of b.dlq[0]"),
    ],
    ids=["deleted", "hidden", "without a leader", "silent"],
)
def test_an_unreadable_partition_leaves_out_only_its_own_letters(
    brokers: DeadLetterTopics, change: Callable[[DeadLetterTopics], object], reason: str
) -> None:
    change(brokers)
    found = read(*LETTERS)
    assert (found["a.dlq:0:1"], found["c.dlq:1:2"]) == (1, 2)
    for unread in ("b.dlq:0:0", "b.dlq:0:2"):
        assert reason in str(found[unread])
    with pytest.raises(RecordUnreadableError, match=r"b\.dlq"):
        read_record(SETTINGS, LETTERS[1])


def test_a_letter_of_a_partition_that_is_gone_has_no_record(brokers: DeadLetterTopics) -> None:
    """The DLQ was created again with fewer partitions. It can be seen, so the record does not exist."""
    assert read(letter("a.dlq", 1, 7), letter("a.dlq", 9), letter("a.dlq", 2)) == {
        "a.dlq:7:1": None,
        "a.dlq:0:9": None,
        "a.dlq:0:2": 2,
    }
    assert brokers.assigned is None


def test_without_a_broker_the_reading_ends(brokers: DeadLetterTopics) -> None:
    """Each further partition would wait for the time of a request."""
    brokers.lost_after = 1
    found = read_records(SETTINGS, LETTERS)
    assert outcome(next(found)[1]) == 1
    with pytest.raises(NoBrokerError, match=r"does not return the dead letters of b\.dlq"):
        next(found)


@dataclass
class Index:
    """The connection of a rebuild. Each known DLQ has a row with offset 9, after the end of its partition."""

    known: set[str]
    deleted: list[tuple[object, object, object]] = field(default_factory=list)
    added: list[object] = field(default_factory=list)

    def begin_nested(self) -> AbstractContextManager[None]:
        return nullcontext()

    def execute(self, statement: object, values: dict[str, object] | list[dict[str, object]]) -> SimpleNamespace:
        found: Sequence[object]
        if isinstance(values, list):
            found = [row["id"] for row in values]
            self.added += found
        elif "delete" in str(statement):
            found = ["an id"]
            self.deleted.append((values["dlq"], values["end"], values["known"]))
        else:
            found = [SimpleNamespace(dlq_partition=0, known=9)] if values["dlq"] in self.known else []
        return SimpleNamespace(all=lambda: found)


class TenantCodec:
    """Decodes nothing but the tenant."""

    def decode(self, _topic: str, _value: bytes | None) -> SimpleNamespace:
        return SimpleNamespace(tenant_id="t")


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue(BUILT_IN[:3], SETTINGS)


def rebuilt(index: Index, catalogue: Catalogue) -> Rebuilt:
    return rebuild(cast("Connection", index), SETTINGS, catalogue, cast("Codec", TenantCodec()))


@pytest.mark.requirement("Faults of others", "`dlq rebuild` deletes no row of a DLQ that it cannot see")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (UNKNOWN, MISSING),
        (HIDDEN, "authorization failed"),
        (KafkaError.LEADER_NOT_AVAILABLE, "Leader not available"),
        (KafkaError.TOPIC_EXCEPTION, "Invalid topic"),
        (None, "[0] has no leader now"),
    ],
)
def test_the_rows_of_a_dlq_that_cannot_be_read_stay(
    brokers: DeadLetterTopics, catalogue: Catalogue, code: int | None, reason: str
) -> None:
    """The others are rebuilt, and the one that is left out is named."""
    first, second, third = (catalogue.dlq(topic.name) for topic in catalogue)
    brokers.topics = {name: described(name, [1]) for name in (first, third)}
    brokers.topics[second] = described(second, [-1] if code is None else [], code)
    index = Index({first, second, third})
    done = rebuilt(index, catalogue)
    assert index.deleted == [(first, 3, 9), (third, 3, 9)]
    assert index.added == [f"{name}:0:{offset}" for name in (first, third) for offset in range(3)]
    assert (done.added, done.removed, list(done.left_out)) == (6, 2, [second])
    assert reason in done.left_out[second]


def test_a_dlq_without_a_topic_and_rows_is_nothing_to_rebuild(brokers: DeadLetterTopics, catalogue: Catalogue) -> None:
    """Its topic was not created yet."""
    brokers.topics = {}
    assert rebuilt(Index(set()), catalogue) == Rebuilt(added=0, removed=0)


def test_without_a_broker_the_rebuild_ends(brokers: DeadLetterTopics, catalogue: Catalogue) -> None:
    brokers.lost_after = 0
    with pytest.raises(NoBrokerError):
        rebuilt(Index(set()), catalogue)
