"""Replays of many dead letters: one that fails stops no other, and what was replayed is always printed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import pytest
from sqlalchemy import Engine

from streams.cli import dlq
from streams.cli.output import CommandError, Format, Output
from streams.operations.dead_letters import batch_replay, records
from streams.operations.dead_letters.batch_replay import ReplayResult, replay_each
from streams.operations.dead_letters.index import DeadLetter, DeadLetterMissingError
from streams.operations.dead_letters.replay import Replay, ReplayRefusedError
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue
from streams.transport.kafka.records import Record
from tests.support.fakes.kafka.dead_letter_topics import DeadLetterTopics, letter
from tests.support.kafka_records import described

SETTINGS = Settings(kafka_request_timeout=0.3)
GONE, REFUSED, REPLAYED = 0, 1, 2
"""Offsets of letters: the index no longer has the first one, and the replay of the second one is refused."""


class Database:
    """An engine whose transactions do nothing."""

    @contextmanager
    def begin(self) -> Iterator[None]:
        yield


ENGINE = cast("Engine", Database())


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> DeadLetterTopics:
    topics = {name: described(name, [1]) for name in ("a.dlq", "b.dlq", "c.dlq")}
    found = DeadLetterTopics(topics, SETTINGS.kafka_request_timeout)
    monkeypatch.setattr(records, "Consumer", found)
    return found


@pytest.fixture(autouse=True)
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the letters that were replayed."""
    done: list[str] = []

    def replay(_connection: object, _catalogue: object, one: DeadLetter, _record: Record, *, by: str) -> Replay:
        assert by == "test"
        if one.dlq_offset == GONE:
            message = "its row was removed"
            raise DeadLetterMissingError(message)
        if one.dlq_offset == REFUSED:
            message = "it has succeeded since"
            raise ReplayRefusedError(message)
        done.append(one.id)
        return Replay(one.id, one.event_id, one.handler, "tier")

    monkeypatch.setattr(batch_replay, "replay", replay)
    return done


def printed_replays(letters: Sequence[DeadLetter], output: Format = Format.JSON) -> list[ReplayResult]:
    return dlq._replay_each(ENGINE, SETTINGS, letters, "test", Output(output))


@pytest.mark.requirement("Faults of others", "`dlq replay --all` goes on after what cannot be read or replayed")
def test_a_letter_that_cannot_be_replayed_stops_no_other(brokers: DeadLetterTopics, replayed: list[str]) -> None:
    """Its topic is deleted, its row is removed in the meantime, the replay is refused, or retention has passed."""
    del brokers.topics["b.dlq"]
    letters = [letter("a.dlq", 9), letter("a.dlq", REFUSED), letter("b.dlq", 0), letter("b.dlq", 2)]
    letters += [letter("c.dlq", GONE), letter("c.dlq", REPLAYED)]
    results = replay_each(ENGINE, SETTINGS, Catalogue(BUILT_IN, SETTINGS), letters, by="test")
    found = {one.id: one.error for one in results}
    unreadable = "cannot be read: b.dlq is not on Kafka, or this account may not see it"
    assert found == {
        "a.dlq:0:9": "a.dlq:0:9 is no longer on Kafka: its topic's retention has passed",
        "a.dlq:0:1": "it has succeeded since",
        "b.dlq:0:0": f"b.dlq:0:0 {unreadable}",
        "b.dlq:0:2": f"b.dlq:0:2 {unreadable}",
        "c.dlq:0:0": "its row was removed",
        "c.dlq:0:2": None,
    }
    assert replayed == ["c.dlq:0:2"]


@pytest.mark.requirement("Faults of others", "`dlq replay --all` prints what it has replayed, whatever ends it")
@pytest.mark.parametrize("output", [Format.TABLE, Format.JSON])
def test_what_was_replayed_is_printed_although_kafka_is_lost(
    brokers: DeadLetterTopics, capsys: pytest.CaptureFixture[str], output: Format
) -> None:
    brokers.lost_after = 1
    letters = [letter(name, REPLAYED) for name in ("a.dlq", "b.dlq", "c.dlq")]
    with pytest.raises(CommandError, match=r"2 dead letters were not tried: .* of b\.dlq"):
        printed_replays(letters, output)
    shown = capsys.readouterr().out
    assert "a.dlq:0:2" in shown
    assert "b.dlq:0:2" not in shown


@pytest.mark.usefixtures("brokers")
def test_what_was_replayed_is_printed_after_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_given: object, **_more: object) -> Iterator[ReplayResult]:
        yield ReplayResult("a.dlq:0:2", None, None, "tier", replayed=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(dlq, "replay_each", interrupted)
    with pytest.raises(KeyboardInterrupt):
        printed_replays([letter("a.dlq", REPLAYED)])
    assert '"a.dlq:0:2"' in capsys.readouterr().out
