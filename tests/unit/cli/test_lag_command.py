"""`streams lag` while the lag is known in part: what is left out is named, and the command fails."""

import json

import pytest
from confluent_kafka import KafkaError

from streams.cli import lag
from streams.observability.metrics import Lag
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.lag import LagReading, UnknownLag
from tests.support.cli import Commands

ERROR = KafkaRefusedError("the offsets of a.b [3] cannot be read", KafkaError.LEADER_NOT_AVAILABLE)
UNKNOWN = [UnknownLag("g", "a.b", 3, ERROR), UnknownLag("g", "c", None, ERROR), UnknownLag("g", "a.b", 1, ERROR)]
LEFT_OUT = f"streams: left out, since its lag is unknown: a.b [1, 3], c; {ERROR}\n"


def known(waiting: int) -> list[Lag]:
    return [Lag("g", "a.b", 0, current_offset=2, end_offset=2 + waiting, lag=waiting)]


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> list[LagReading]:
    """The readings to come. The last one is returned again and again."""
    found: list[LagReading] = []
    monkeypatch.setattr(lag, "group_lag", lambda *_given: found.pop(0) if len(found) > 1 else found[0])
    monkeypatch.setattr(lag, "oldest_records", lambda *_given: {})
    monkeypatch.setattr(lag, "WATCH_INTERVAL", 0.0)
    return found


@pytest.mark.requirement("Faults of others", "a partition without a leader leaves out only its own lag")
@pytest.mark.parametrize("output", ["json", "jsonl", "csv"])
def test_what_is_left_out_is_named_and_has_no_row(reading: list[LagReading], output: str) -> None:
    reading.append(LagReading(known(7), UNKNOWN))
    done = Commands().run("lag", "--output", output)
    assert (done.returncode, done.stderr) == (1, LEFT_OUT)
    assert done.stdout.count("a.b") == 1
    if output == "json":
        (row,) = json.loads(done.stdout)
        assert (row["partition"], row["lag"]) == (0, 7)


@pytest.mark.requirement("Faults of others", "a partition without a leader leaves out only its own lag")
def test_nothing_is_called_settled_that_is_unknown(reading: list[LagReading]) -> None:
    """A script that waits for the end of the lag must not go on."""
    reading.append(LagReading(known(0), UNKNOWN))
    done = Commands().run("lag")
    assert (done.returncode, done.stdout, done.stderr) == (1, "no lag where it is known\n", LEFT_OUT)


def test_the_table_has_what_is_known(reading: list[LagReading]) -> None:
    reading.append(LagReading(known(7), UNKNOWN))
    done = Commands().run("lag")
    assert (done.returncode, done.stderr) == (1, LEFT_OUT)
    assert "a.b" in done.stdout


def test_a_whole_reading_succeeds(reading: list[LagReading]) -> None:
    reading.append(LagReading(known(0)))
    done = Commands().run("lag")
    assert (done.returncode, done.stdout, done.stderr) == (0, "no lag: everything on 1 topics is settled\n", "")


def test_watching_goes_on_and_names_a_change_once(reading: list[LagReading], monkeypatch: pytest.MonkeyPatch) -> None:
    reading += [LagReading(known(7), UNKNOWN), LagReading(known(6), UNKNOWN), LagReading(known(5))]
    reading += [LagReading(known(4), UNKNOWN), LagReading(known(3))]

    def pause(_seconds: float) -> None:
        if len(reading) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("streams.cli.lag.time.sleep", pause)
    done = Commands().run("lag", "--watch", "--output", "jsonl")
    assert [json.loads(line)["lag"] for line in done.stdout.splitlines()] == [7, 6, 5, 4]
    assert (done.returncode, done.stderr) == (130, LEFT_OUT * 2)
