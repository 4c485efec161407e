"""How a worker starts, stops and fails: exit codes, time limits and lines, on a real broker."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.local_stack.stack import Stack
from tests.support.processes.transport_worker import Scene
from tests.support.processes.worker_process import free_port, wait_for


@pytest.fixture
def scene(stack: Stack, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(stack, tmp_path)
    yield made
    made.end()


@pytest.mark.requirement("Transport", "`faust -A streams worker` consumes, drains on SIGTERM within a bound, exits 0")
def test_sigterm_lets_running_work_finish(scene: Scene) -> None:
    """SIGTERM waits for running work, commits it, leaves the group and exits with 0."""
    worker = scene.start()
    scene.produce(["gate-a", "gate-b"])
    wait_for(lambda: len(scene.lines("started")) == 2, "work is under way", 20)
    worker.process.send_signal(signal.SIGTERM)
    wait_for(lambda: len(scene.lines("draining")) == 1, "the drain begins", 5)
    scene.open_gate()
    assert worker.wait() == 0
    assert scene.settled() == {"gate-a": 1, "gate-b": 1}
    assert scene.committed() == [1, 1]


@pytest.fixture
def breakable_scene(breakable_stack: Stack, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(breakable_stack, tmp_path)
    yield made
    made.end()


@pytest.mark.requirement("Transport", "`faust -A streams worker` consumes, drains on SIGTERM within a bound, exits 0")
def test_sigterm_ends_in_time_while_the_broker_is_frozen(breakable_scene: Scene) -> None:
    """Neither work that outlasts the drain nor an unreachable broker can delay the end: exit code 0 in time."""
    scene = breakable_scene
    worker = scene.start(STREAMS_DRAIN_TIMEOUT="1s")
    scene.produce(["gate-a", "b"])
    wait_for(lambda: scene.committed() == [0, 1], "one is done, one is under way", 20)
    brokers = listeners(scene.servers)
    for broker in brokers:
        broker.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert worker.terminate(25) == 0
        assert time.monotonic() - begun < 20
    finally:
        for broker in brokers:
            broker.send_signal(signal.SIGCONT)
        # A broker frozen for longer than its session is fenced: the next test would find no leader yet.
        wait_for(lambda: makes_topics(scene.servers), "the brokers work again", 60)
        wait_for(lambda: knows_offsets(scene), "the brokers know the group again", 60)
    assert scene.committed() == [0, 1]


def knows_offsets(scene: Scene) -> bool:
    try:
        scene.committed()
    except KafkaException:
        return False
    return True


def makes_topics(servers: str) -> bool:
    admin = AdminClient({"bootstrap.servers": servers})
    made = admin.create_topics([NewTopic(f"thawed-{uuid4().hex}", 1)], operation_timeout=5, request_timeout=5)
    try:
        for future in made.values():
            future.result(6)
    except (KafkaException, TimeoutError):
        return False
    return True


def listeners(servers: str) -> list[psutil.Process]:
    ports = {int(server.rpartition(":")[2]) for server in servers.split(",")}
    found = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port in ports
    }
    processes = [psutil.Process(pid) for pid in found if pid is not None]
    assert processes, f"no process listens on {ports}"
    return processes


@pytest.mark.requirement("Bad input", "a missing Kafka at start: one line, non-zero")
def test_without_a_broker_the_worker_says_so_and_ends(scene: Scene) -> None:
    """One line names the address and the setting. Exit code 1."""
    address = f"127.0.0.1:{free_port()}"
    worker = scene.start(STREAMS_KAFKA_BOOTSTRAP_SERVERS=address, STREAMS_KAFKA_REQUEST_TIMEOUT="2s")
    assert worker.wait() == 1
    lines = [line for line in worker.text().splitlines() if "CRITICAL" in line]
    assert len(lines) == 1
    assert address in lines[0]
    assert "STREAMS_KAFKA_BOOTSTRAP_SERVERS" in lines[0]
    assert "Traceback" not in worker.text()


def test_a_topic_without_an_agent_stops_the_start(scene: Scene) -> None:
    """A group's topic without an agent is named. Exit code 1, nothing is consumed."""
    worker = scene.start(TEST_TOPICS=f"{scene.topic},orphan.topic", TEST_AGENTS=scene.topic)
    assert worker.wait() == 1
    assert "no agent reads orphan.topic" in worker.text()
    assert "Traceback" not in worker.text()


def test_an_agent_that_raises_ends_the_worker_and_loses_nothing(scene: Scene) -> None:
    """Exit code 1, and one line with the reason. The unsettled record is read again."""
    scene.produce(["a", "b"], partition=0)
    worker = scene.start()
    wait_for(lambda: scene.committed() == [2, 0], "it works", 20)
    scene.produce(["raise-here"], partition=0)
    assert worker.wait() == 1
    assert "an agent raised ValueError: an error of the agent" in worker.text()
    assert scene.committed() == [2, 0]


@pytest.mark.requirement("Transport", "a fatal error ends the process")
@pytest.mark.parametrize("group_protocol", ["cooperative", "consumer"])
def test_a_fatal_error_of_kafka_ends_the_worker(scene: Scene, group_protocol: str) -> None:
    """Of two static members with one id, the new protocol rejects the second, and the classic one fences the first.

    Exit code 1, and one line, which names the group.
    """
    static = {
        "STREAMS_GROUP_PROTOCOL": group_protocol,
        "STREAMS_KAFKA_CONFIG": json.dumps({"group.instance.id": "the-only-one"}),
    }
    first = scene.start(**static)
    scene.wait_assigned(first)
    second = scene.start(**static)
    ended = second if group_protocol == "consumer" else first
    assert ended.wait(20) == 1
    lines = [line for line in ended.text().splitlines() if "the worker stops" in line]
    assert len(lines) == 1
    assert "the consumer of group" in lines[0]
    assert "UNRELEASED_INSTANCE_ID" in lines[0] or "Fatal" in lines[0]


@pytest.mark.requirement("Transport", "timers, pages, `agents` and `send` are Faust's own")
def test_faust_keeps_its_ways(scene: Scene) -> None:
    """Timers, pages, commands, `agents` and `send` are Faust's own and work. A used web port gives one line."""
    worker = scene.start()
    scene.wait_assigned(worker)
    assert worker.state()["assigned"]
    ticks = len(scene.lines("tick"))
    wait_for(lambda: len(scene.lines("tick")) >= ticks + 2, "the timer goes on", 3)
    commands = [
        scene.command("agents"),
        scene.command("hello"),
        scene.command("send", scene.topic, "by hand", "--partition", "1"),
    ]
    again = scene.start(STREAMS_WEB_PORT=str(worker.port))
    assert again.wait() == 1
    assert "STREAMS_WEB_PORT" in again.text()
    assert "Traceback" not in again.text()
    agents, hello, sent = (command.communicate(timeout=20)[0] for command in commands)
    assert scene.topic in agents
    assert "hello from a command" in hello
    assert json.loads(sent)["offset"] == 0
    wait_for(lambda: scene.committed()[1] == 1, "what was sent is consumed", 5)
