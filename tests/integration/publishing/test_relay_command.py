"""`streams relay`: a process that only relays, its standby, and its message if it cannot start."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas import DocumentDeleted
from streams.codec import build_codec
from streams.database.tables import outbox
from streams.publishing import Outbox
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.cli import Commands
from tests.support.kafka_records import end_offsets
from tests.support.processes.relay_process import RelayProcess
from tests.support.processes.worker_process import free_port, rows, scalar, wait_for

pytestmark = pytest.mark.topics("document.deleted")

TAKES_OVER = 2.0
"""The time in seconds within which a standby relay takes over."""


MakeRelay = Callable[..., RelayProcess]


@pytest.fixture
def relay(environment: dict[str, str], tmp_path: Path) -> Iterator[MakeRelay]:
    made: list[RelayProcess] = []

    def make(*options: str, preloaded: bool = True, **settings: str) -> RelayProcess:
        folder = tmp_path / f"relay-{len(made)}"
        made.append(RelayProcess({**environment, **settings}, folder, *options, preloaded=preloaded))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait(10)


def publish(engine: Engine, settings: Settings, count: int) -> None:
    codec = build_codec(settings, load_catalogue(settings))
    with Session(engine) as session, session.begin():
        for number in range(count):
            Outbox(session, codec).publish(
                DocumentDeleted(document_id=f"d{number}", dataset_id="s", doc_form="text_model")
            )


def is_empty(engine: Engine) -> bool:
    return scalar(engine, "select count(*) from streams.outbox where failed_at is null") == 0


def active_and_stand_by(relay: MakeRelay) -> tuple[RelayProcess, RelayProcess]:
    """Start two relays. The second one may be active: between two transactions of the first, nobody has the lock."""
    one = relay(preloaded=False)
    wait_for(one.is_active, "the first to be active")
    other = relay(preloaded=False)

    def roles() -> tuple[RelayProcess, RelayProcess] | None:
        both = ((one, other), (other, one))
        return next((pair for pair in both if pair[0].is_active() and pair[1].is_active() is False), None)

    found = wait_for(roles, "one of them to stand by")
    assert found is not None
    return found


@pytest.mark.requirement("Publishing", "relays in the workers or `streams relay`")
def test_it_carries_what_is_committed_and_ends_at_sigterm(topics: Settings, engine: Engine, relay: MakeRelay) -> None:
    """Alone, without a worker. It reports how many rows it sent, and ends with code 0."""
    one = relay()
    publish(engine, topics, 100)
    wait_for(lambda: is_empty(engine), "the outbox to be empty")
    assert one.stop() == 0, one.log.read_text()
    assert json.loads(one.output.read_text()) == {"acknowledged": 100}
    assert end_offsets(topics, f"{topics.topic_prefix}document.deleted") == 100


@pytest.mark.requirement(
    "Publishing",
    "one active at a time, stand-bys that take over within 2 s, whether it was killed or frozen",
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_stand_by_takes_over_within_two_seconds(
    topics: Settings, engine: Engine, relay: MakeRelay, number: signal.Signals
) -> None:
    """From the moment that the active one stops, committed events are sent within the limit."""
    first, second = active_and_stand_by(relay)
    publish(engine, topics, 10)
    wait_for(lambda: is_empty(engine), "the active one to carry")
    os.kill(first.process.pid, number)
    began = time.monotonic()
    publish(engine, topics, 10)
    wait_for(lambda: is_empty(engine), "the stand-by to carry on")
    assert time.monotonic() - began <= TAKES_OVER
    assert second.has_logged("this relay is active")
    if number == signal.SIGSTOP:
        os.kill(first.process.pid, signal.SIGCONT)
        # It has lost its lock, unless it was frozen between two transactions, when it had none.
        wait_for(lambda: first.is_active() is False, "it to stand by")
        assert first.stop() == 0
    assert second.stop() == 0
    assert end_offsets(topics, f"{topics.topic_prefix}document.deleted") == 20


@pytest.mark.requirement("Publishing", "`streams relay` without a database or Kafka: one line, or `--wait`")
def test_what_is_not_there_at_the_start_is_one_line(settings: Settings, commands: Commands) -> None:
    assert settings.application
    port = free_port()
    for name, value in (
        ("STREAMS_DATABASE_URL", f"postgresql://postgres:secret@127.0.0.1:{port}/none"),
        ("STREAMS_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{port}"),
    ):
        done = commands.run("relay", **{name: value, "STREAMS_KAFKA_REQUEST_TIMEOUT": "2s"})
        assert done.returncode == 1
        assert name in done.stderr
        assert "secret" not in done.stderr
        # A client of an earlier test may still log in this process.
        (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
        assert line.startswith("streams: ")


@pytest.mark.requirement("Publishing", "`streams relay` without a database or Kafka: one line, or `--wait`")
def test_with_wait_it_waits_for_them(topics: Settings, relay: MakeRelay) -> None:
    """It runs until it is stopped."""
    one = relay(
        "--wait", STREAMS_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}", STREAMS_KAFKA_REQUEST_TIMEOUT="1s"
    )
    assert topics
    wait_for(lambda: one.has_logged("waiting for a server"), "it to say so")
    assert one.stop() == 0
    assert json.loads(one.output.read_text()) == {"acknowledged": 0}


def set_aside(engine: Engine, settings: Settings) -> list[int]:
    """Three rows that Kafka rejected, and one that waits. Returns the ids of the rejected ones."""
    publish(engine, settings, 4)
    with engine.begin() as connection:
        connection.execute(
            outbox.update().where(outbox.c.key != b"d3").values(failed_at=outbox.c.created_at, error="no such topic")
        )
    found = rows(engine, "select id from streams.outbox where failed_at is not null order by id")
    return [int(str(row["id"])) for row in found]


@pytest.mark.requirement("Publishing", "poisoned rows set aside with their error; seen, retried, dropped")
def test_what_was_set_aside_is_listed_retried_and_dropped(
    settings: Settings, engine: Engine, commands: Commands
) -> None:
    first, second, third = set_aside(engine, settings)
    found = commands.json("outbox", "list")
    assert isinstance(found, dict)
    assert (found["waiting"], found["set_aside"]) == (1, 3)
    assert found["oldest"] is not None
    assert [row["id"] for row in found["rows"]] == [third, second, first]
    assert set(found["rows"][0]) == {"id", "event_id", "topic", "created_at", "failed_at", "error"}
    assert "1 waiting, the oldest since" in commands.run("outbox", "list").stdout

    assert commands.json("outbox", "retry", str(first)) == {"retried": [first]}
    refused = commands.run("outbox", "drop", str(second))
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert commands.json("outbox", "drop", str(second), "--yes") == {"dropped": [second]}
    assert commands.json("outbox", "retry", "--all") == {"retried": [third]}
    left = rows(engine, "select id, error from streams.outbox where failed_at is null order by id")
    assert [row["id"] for row in left][:2] == [first, third]
    assert {row["error"] for row in left} == {None}


@pytest.mark.requirement("Publishing", "poisoned rows set aside with their error; seen, retried, dropped")
def test_what_waits_can_be_neither_retried_nor_dropped(settings: Settings, engine: Engine, commands: Commands) -> None:
    """Nothing is changed if one of several ids is wrong, or none is given."""
    first, *_ = set_aside(engine, settings)
    waiting = scalar(engine, "select id from streams.outbox where failed_at is null")
    done = commands.run("outbox", "drop", str(first), str(waiting), "--yes")
    assert done.returncode == 1
    assert done.stderr == f"streams: not set aside in the outbox: {waiting}; nothing was changed\n"
    assert commands.run("outbox", "retry").returncode == 2
    assert commands.run("outbox", "retry", str(first), "--all").returncode == 2
    assert scalar(engine, "select count(*) from streams.outbox") == 4
