"""Ids given by their beginning, lag by topic, and tables on a real terminal."""

import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from sqlalchemy import Engine, insert

from schemas.event import event_time, new_event_id
from streams.cli.ids import resolve_dead_letter_ids
from streams.database.tables import dead_letters, outbox
from streams.operations.event_ids import event_id_range, find_event_ids
from streams.operations.lag import group_lag
from streams.operations.oldest import oldest_records
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings
from tests.integration.cli.test_executions import an_execution
from tests.support.cli import Commands
from tests.support.processes.preloaded import commands_folder
from tests.support.processes.worker_process import PATIENCE, Streams


def at_time(milliseconds: int, last: int) -> UUID:
    """Return an event id with the given time and last digits."""
    return UUID(int=new_event_id(milliseconds).int >> 16 << 16 | last)


def in_ledger(engine: Engine, event_id: UUID, **fields: object) -> UUID:
    made_at = event_time(event_id)
    assert made_at is not None
    an_execution(engine, event_id=event_id, day=made_at.date(), **fields)
    return event_id


def in_outbox(engine: Engine, event_id: UUID, **fields: object) -> None:
    with engine.begin() as connection:
        connection.execute(insert(outbox).values(event_id=event_id, topic="document.deleted", **fields))


def a_dead_letter(engine: Engine, topic: str, offset: int) -> str:
    dlq, now = f"{topic}.streams.dlq", datetime.now(tz=UTC)
    row = {
        "id": f"{dlq}:0:{offset}",
        "dlq_topic": dlq,
        "dlq_partition": 0,
        "dlq_offset": offset,
        "topic": topic,
        "partition": 0,
        "offset": offset,
        "event_id": new_event_id(),
        "handler": "clean-document",
        "reason": "permanent",
        "error_type": "ValueError",
        "error_message": "no such document",
        "attempts": 1,
        "first_failed_at": now,
        "died_at": now,
    }
    with engine.begin() as connection:
        connection.execute(insert(dead_letters).values(row))
    return str(row["id"])


NOW_MS = int(datetime.now(tz=UTC).timestamp() * 1000)


@pytest.mark.requirement("Output of commands", "ids can be given as a prefix")
def test_an_event_is_found_by_the_beginning_of_its_id(commands: Commands, engine: Engine) -> None:
    """With or without hyphens, and in capitals. A second handler of the event does not make it ambiguous."""
    event_id = in_ledger(engine, at_time(NOW_MS, 1))
    in_ledger(engine, event_id, handler="charge-message")
    in_ledger(engine, at_time(NOW_MS - 86_400_000, 2))
    text = str(event_id)
    for beginning in (text[:20], text[:20].replace("-", ""), text[:-1].upper(), text):
        found = commands.rows("executions", "show", beginning)
        assert {row["event_id"] for row in found} == {text}
        assert len(found) == 2


@pytest.mark.requirement("Output of commands", "ids can be given as a prefix")
def test_an_ambiguous_beginning_changes_nothing_and_names_the_ids(commands: Commands, engine: Engine) -> None:
    """Events in the outbox count too. The error is one line, with exit code 2."""
    ids = [at_time(NOW_MS, 0xA001), at_time(NOW_MS, 0xA002)]
    in_ledger(engine, ids[0], status="retry")
    in_outbox(engine, ids[1])
    beginning = str(ids[0])[:13]
    for command in ("show", "cancel"):
        done = commands.run("executions", command, beginning)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert all(str(one) in done.stderr for one in ids)
    assert [row["status"] for row in commands.rows("executions", "list")] == ["retry"]


def test_at_most_five_candidates_are_named(commands: Commands, engine: Engine) -> None:
    ids = [in_ledger(engine, at_time(NOW_MS + number * 60_000, number)) for number in range(8)]
    done = commands.run("executions", "show", "0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert sum(str(one) in done.stderr for one in ids) == 5
    assert done.stderr.endswith(", …\n")


def test_a_beginning_without_a_match_is_one_line(commands: Commands, engine: Engine) -> None:
    """An unknown id is a failure (1); a text that cannot be an id is a wrong request (2)."""
    in_ledger(engine, at_time(NOW_MS, 1))
    for given, code in (("f00d", 1), ("no-id", 2), ("", 2), ("0" * 33, 2)):
        done = commands.run("executions", "show", given)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr


def test_an_execution_and_a_scheduled_event_are_cancelled_by_a_beginning(commands: Commands, engine: Engine) -> None:
    waiting = in_ledger(engine, at_time(NOW_MS, 3), status="retry")
    later = at_time(NOW_MS + 86_400_000, 4)
    in_outbox(engine, later, due_at=datetime.now(tz=UTC) + timedelta(days=1))
    assert commands.json("executions", "cancel", str(waiting)[:-1]) == {
        "event_id": str(waiting),
        "cancelled": ["clean-document"],
    }
    assert commands.json("scheduled", "cancel", str(later)[:-1]) == [
        {"event_id": str(later), "topic": "document.deleted", "cancelled": True}
    ]


def test_ids_are_found_in_their_order_however_many_there_are(engine: Engine) -> None:
    """The events are from several days and from the outbox."""
    days = [in_ledger(engine, at_time(NOW_MS - number * 86_400_000, number)) for number in range(4)]
    in_outbox(engine, at_time(NOW_MS, 9))
    low, high = event_id_range("0")
    with engine.connect() as connection:
        assert find_event_ids(connection, low, high, 3) == sorted(days)[:3]
        assert len(find_event_ids(connection, low, high, 10)) == 5
        assert find_event_ids(connection, days[2], days[2], 10) == [days[2]]
        assert find_event_ids(connection, *event_id_range("ff"), 10) == []


@pytest.mark.requirement("Output of commands", "ids can be given as a prefix")
def test_a_dead_letter_is_found_by_its_beginning_and_a_whole_id_is_never_one(
    commands: Commands, engine: Engine
) -> None:
    """``…:0:1`` is offset 1, which does not exist, and not the beginning of ``…:0:12``."""
    twelve = a_dead_letter(engine, "document.deleted", 12)
    other = a_dead_letter(engine, "dataset.deleted", 5)
    missing = commands.run("dlq", "show", twelve[:-1])
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert f"no dead letter '{twelve[:-1]}'" in missing.stderr
    several = commands.run("dlq", "replay", "d")
    assert (several.returncode, several.stdout, several.stderr.count("\n")) == (2, "", 1)
    assert twelve in several.stderr
    assert other in several.stderr
    with engine.connect() as connection:
        assert resolve_dead_letter_ids(connection, ["document", other]) == [twelve, other]
    assert "no dead letter 'x_%'" in commands.run("dlq", "show", "x_%").stderr


def test_a_list_on_a_terminal_of_80_columns(environment: dict[str, str], engine: Engine) -> None:
    """No line is wrapped, ids are whole, markup is not interpreted, and control characters are escaped."""
    ids = [in_ledger(engine, at_time(NOW_MS, number), error="[red]\x1b[2Jgone", status="failure") for number in (1, 2)]
    shown = on_a_terminal(80, environment, "executions", "list", "--wide")
    assert "[red]\\x1b[2Jgone" in shown
    lines = on_a_terminal(80, {**environment, "NO_COLOR": "1"}, "executions", "list").splitlines()
    plain = [line.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "") for line in lines]
    assert all(len(line) <= 80 for line in plain)
    assert {line.split()[0] for line in plain[1:3]} == set(map(str, ids))
    assert plain[3].endswith("with --wide")


def on_a_terminal(width: int, environment: dict[str, str], *command: str) -> str:
    """Return what a command writes to a terminal with `width` columns."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [commands_folder() / "streams", *command],
        stdout=its,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment, "COLUMNS": str(width), "TERM": "xterm-256color"},
    ) as process:
        os.close(its)
        written = b""
        while chunk := _read(ours):
            written += chunk
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux raises it once the other end is closed
        return b""


def produce(settings: Settings, topic: str, count: int, timestamp: int, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for number in range(count):
        producer.produce(topic, str(number).encode(), partition=partition, timestamp=timestamp + number)
    assert producer.flush(PATIENCE) == 0


@contextmanager
def committing(settings: Settings, group: str, topic: str, offsets: Iterator[int]) -> Iterator[None]:
    """Commit the next offset repeatedly, as a worker does, for the duration of the block."""
    stop = threading.Event()

    def commit() -> None:
        consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": group})
        while not stop.is_set():
            consumer.commit(offsets=[TopicPartition(topic, 0, next(offsets))], asynchronous=False)
            stop.wait(0.2)
        consumer.close()

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)


@pytest.mark.parametrize("partitions", [2])
def test_the_oldest_record_is_the_first_that_is_not_settled(topics: Settings) -> None:
    """It is not the first on the topic, and only partitions with lag have one."""
    catalogue = build_catalogue(topics)
    name = catalogue.topic("document.deleted").name
    produce(topics, name, 5, NOW_MS - 60_000)
    consumer = Consumer({"bootstrap.servers": topics.kafka_bootstrap_servers, "group.id": catalogue.group("low")})
    consumer.commit(offsets=[TopicPartition(name, 0, 3)], asynchronous=False)
    consumer.close()
    found = oldest_records(topics, group_lag(topics, catalogue).lags)
    assert found == {(name, 0): datetime.fromtimestamp((NOW_MS - 60_000 + 3) / 1000, tz=UTC)}


@pytest.mark.requirement(
    "Output of commands",
    "`lag`: one line per topic with total, oldest and rate, only what has lag unless `--all`",
)
def test_lag_has_one_line_for_each_topic_that_has_lag(streams: Streams, topics: Settings) -> None:
    """It has total, oldest and rate. Topics without lag need --all. JSON always has every partition."""
    catalogue = build_catalogue(topics)
    name = catalogue.topic("document.deleted").name
    nothing = streams.run("lag").stdout
    assert nothing.startswith("no lag: ")
    produce(topics, name, 1000, NOW_MS - 3_600_000)
    with committing(topics, catalogue.group("low"), name, iter(range(10, 1000, 5))):
        heading, *rows = streams.run("lag").stdout.splitlines()
    assert heading.split() == ["consumergroup", "topic", "lag", "oldest", "rate", "published", "partitions"]
    (row,) = rows
    group, topic, lag, oldest, rate, published, partitions = row.split()
    assert (group, topic, published, partitions) == (catalogue.group("low"), name, "0/s", "1")
    assert 0 < int(lag) < 1000
    assert datetime.fromisoformat(oldest) == pytest.approx(
        datetime.fromtimestamp(NOW_MS / 1000 - 3600, tz=UTC), abs=timedelta(seconds=3)
    )
    assert float(rate.removesuffix("/s")) > 1
    everything = streams.run("lag", "--all").stdout.splitlines()
    in_json = streams.json("lag")
    assert isinstance(in_json, list)
    assert len(everything) == 1 + len({(one["consumergroup"], one["topic"]) for one in in_json})
    assert set(in_json[0]) == {"consumergroup", "topic", "partition", "current_offset", "end_offset", "lag"}
    csv_heading, *csv_rows = streams.run("lag", "--output", "csv").stdout.splitlines()
    assert csv_heading == "consumergroup,topic,partition,current_offset,end_offset,lag"
    assert len(csv_rows) == len(in_json)
