"""`streams top` with real servers: one sample as JSON and as a table, and a live screen on a terminal."""

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pytest
from confluent_kafka import Producer
from sqlalchemy import Engine, text

from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.cli import Commands
from tests.support.processes.preloaded import commands_folder
from tests.support.processes.worker_process import PATIENCE, START, Streams

SECTION = "Commands"
pytestmark = [pytest.mark.timeout(240), pytest.mark.topics("document.deleted")]
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def produce(settings: Settings, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for number in range(count):
        producer.produce(topic, str(number).encode(), partition=0)
    assert producer.flush(PATIENCE) == 0


@pytest.mark.requirement(SECTION, "`streams top`: pools, topics, rates, lag, ages, breakers, pauses, last deaths")
def test_one_sample_is_printed_as_json_and_as_a_table(topics: Settings, commands: Commands, engine: Engine) -> None:
    """Lag as `streams lag` has it, rates of two samples, an open breaker, a pause and a dead letter."""
    catalogue = load_catalogue(topics)
    name = catalogue.topic("document.deleted").name
    produce(topics, name, 7)
    with engine.begin() as connection:
        connection.execute(
            text(
                "insert into streams.breakers (worker, dependency, state, failures, error, seen_at) "
                "values ('w1', 'qdrant', 'open', 5, 'refused', now() + interval '1 hour')"
            )
        )
        connection.execute(text("insert into streams.pauses (kind, name) values ('topic', :name)"), {"name": name})
        connection.execute(
            text(
                "insert into streams.dead_letters (id, dlq_topic, dlq_partition, dlq_offset, topic, partition, "
                '"offset", handler, reason, error_type, error_message, attempts, first_failed_at, died_at) values '
                "(:dlq || ':0:0', :dlq, 0, 0, :name, 0, 0, 'clean-document', 'permanent', 'E', 'm', 1, now(), now())"
            ),
            {"dlq": catalogue.dlq(name), "name": name},
        )

    found = commands.json("top")

    assert isinstance(found, dict)
    assert found["errors"] == {}
    (low,) = [row for row in found["pools"] if row["pool"] == "low"]
    assert (low["lag"], low["members"], low["retries"]) == (7, 0, 0)
    assert (low["published_per_second"], low["settled_per_second"]) == (0, 0)
    first = found["topics"][0]
    assert (first["topic"], first["lag"]) == (name, 7)
    assert first["oldest"]
    assert sum(row["lag"] for row in found["topics"]) == sum(int(str(row["lag"])) for row in commands.rows("lag"))
    assert [row["dependency"] for row in found["breakers"] if row["waiting"]] == ["qdrant"]
    assert [(row["kind"], row["name"]) for row in found["paused"]] == [("topic", name)]
    assert found["dead_letters"] == 1
    assert [(row["handler"], row["reason"]) for row in found["deaths"]] == [("clean-document", "permanent")]

    table = commands.run("top")
    assert table.returncode == 0
    assert re.search(rf"^{name} +7 ", table.stdout, re.MULTILINE)
    assert "breaker   qdrant: 1 of 1 workers wait" in table.stdout
    assert f"paused    topic {name}" in table.stdout


@pytest.mark.requirement(SECTION, "`streams top`: what does not answer is reported, the rest is shown")
def test_a_source_that_does_not_answer_is_named(topics: Settings, commands: Commands) -> None:  # noqa: ARG001 - topics
    nowhere = {"STREAMS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "STREAMS_KAFKA_REQUEST_TIMEOUT": "1s"}
    done = commands.run("top", "--json", **nowhere)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["errors"]) == {"kafka"}
    assert found["pools"] is None
    assert found["outbox"]["waiting"] == 0
    neither = commands.run("top", **nowhere, STREAMS_DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert (neither.returncode, neither.stdout, neither.stderr.count("\n")) == (1, "", 1)
    assert "127.0.0.1:1" in neither.stderr


@contextmanager
def on_terminal(streams: Streams, *arguments: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run a command on a terminal of 80 columns and 24 lines. Yields the process and the terminal's other end."""
    controller, terminal = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in streams.environment.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [commands_folder() / "streams", *arguments],
        env={**environment, "TERM": "xterm-256color"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        yield process, controller
    finally:
        process.kill()
        process.wait(10)
        os.close(controller)


def read_until(controller: int, expected: bytes, seconds: float) -> bytes:
    """Return what the terminal got, without escape sequences, up to the expected text."""
    seen, deadline = b"", time.monotonic() + seconds
    while expected not in _ESCAPES.sub(b"", seen):
        assert time.monotonic() < deadline, seen[-3000:].decode(errors="replace")
        if select.select([controller], [], [], 0.2)[0]:
            seen += os.read(controller, 65_536)
    return _ESCAPES.sub(b"", seen)


@pytest.mark.requirement(SECTION, "`streams top`: a live view; Ctrl-C ends it with exit 0")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_live_screen_follows_until_interrupted(
    streams: Streams,
    topics: Settings,
    tmp_path: Path,  # noqa: ARG001 - of the environment
    number: signal.Signals,
) -> None:
    """Records that come later are shown with their rate. No line is longer than the terminal is wide."""
    name = load_catalogue(topics).topic("document.deleted").name
    with on_terminal(streams, "top", "--interval", "1") as (process, controller):
        seen = read_until(controller, b"no lag: everything", 2 * START)
        produce(topics, name, 30)
        seen += read_until(controller, b"30", PATIENCE)
        seen += read_until(controller, f"{name}".encode(), PATIENCE)
        process.send_signal(number)
        seen += read_until(controller, b"", PATIENCE)
        assert process.wait(10) == 0
    lines = seen.decode(errors="replace").replace("\r", "\n").split("\n")
    assert max(len(line) for line in lines) <= 80
    assert "Traceback" not in seen.decode(errors="replace")
