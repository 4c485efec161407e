"""The local stack is started, stopped, killed and damaged, in its own folders, with the real programs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from redis import Redis
from redis.exceptions import AuthenticationError
from sqlalchemy.engine import make_url

from streams.local import LocalStack, StackError
from streams.local.ports import accepts, allocate_ports, is_free
from streams.local.process import ServerProcess, process_identity
from streams.local.unprivileged_user import inaccessible_part
from tests.support.processes.worker_process import wait_for

NAMES = ["kafka", "postgres", "redis"]


def streams_local(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `streams local …` for a folder, as a user does."""
    command = [sys.executable, "-c", "from streams.cli import main; main()", "local", *arguments]
    environment = {**os.environ, "STREAMS_LOCAL_DIR": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def pids(stack: LocalStack) -> list[int | None]:
    return [server.pid for server in stack.status()]


def write_data(environment: dict[str, str]) -> None:
    """Write a row and a record that must exist later."""
    with psycopg.connect(environment["STREAMS_DATABASE_URL"]) as connection:
        connection.execute("create table kept (what text)")
        connection.execute("insert into kept values ('row')")
    servers: dict[str, str | int | float | bool] = {"bootstrap.servers": environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"]}
    admin = AdminClient(servers)
    admin.create_topics([NewTopic("kept", 1)])["kept"].result(20)
    producer = Producer(servers)
    producer.produce("kept", b"record")
    assert producer.flush(20) == 0


def assert_data(environment: dict[str, str]) -> None:
    with psycopg.connect(environment["STREAMS_DATABASE_URL"]) as connection:
        assert connection.execute("select what from kept").fetchall() == [("row",)]
    consumer = Consumer({"bootstrap.servers": environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"], "group.id": "reader"})
    try:
        assert consumer.get_watermark_offsets(TopicPartition("kept", 0), timeout=20) == (0, 1)
    finally:
        consumer.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    made = LocalStack(tmp_path_factory.mktemp("local") / "new" / "folder")
    made.up()
    write_data(made.environment())
    try:
        yield made
    finally:
        made.down()


@pytest.fixture
def running(stack: LocalStack) -> LocalStack:
    stack.up()
    return stack


@pytest.mark.requirement("The local stack", "Kafka, PostgreSQL with pgvector and the platform's tables, Redis answer")
def test_every_server_answers_where_env_says(running: LocalStack) -> None:
    """`env` names a cluster, the platform's tables, a cache, and a storage folder; all of them answer."""
    environment = running.environment()
    servers: dict[str, str | int | float | bool] = {"bootstrap.servers": environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"]}
    assert len(AdminClient(servers).list_topics(timeout=10).brokers) == 1
    with psycopg.connect(environment["STREAMS_DATABASE_URL"]) as connection:
        tables = {name for (name,) in connection.execute("select tablename from pg_tables where schemaname = 'public'")}
        version, fsync = connection.execute("select version(), current_setting('fsync')").fetchone() or ("", "")
        connection.execute("select uuid_generate_v4(), '[1, 2]'::vector")
    assert {"datasets", "documents", "document_segments", "embeddings", "providers"} <= tables
    assert version.startswith("PostgreSQL 18")
    assert fsync == "on"
    with Redis.from_url(environment["STREAMS_REDIS_URL"]) as client:
        assert client.ping()
    assert Path(environment["STREAMS_STORAGE_URL"].removeprefix("file:")).is_dir()
    assert is_free(int(environment["STREAMS_WEB_PORT"]))


@pytest.mark.requirement("Faults of others", "M10: the local stack's PostgreSQL and Redis need a password")
def test_other_users_of_the_machine_cannot_use_the_servers(running: LocalStack) -> None:
    """PostgreSQL and Redis refuse a client without the password, which only the owner of the folder can read.

    The role of the URL is no superuser, so it cannot start programs.
    """
    environment = running.environment()
    address = make_url(environment["STREAMS_DATABASE_URL"])
    for user in ("postgres", address.username):
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(host=address.host, port=address.port, user=user, dbname="streams", password="")
    with (
        psycopg.connect(environment["STREAMS_DATABASE_URL"]) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("copy (select 1) to program 'true'")
    cache = make_url(environment["STREAMS_REDIS_URL"])
    with Redis(host=str(cache.host), port=int(cache.port or 0)) as client, pytest.raises(AuthenticationError):
        client.ping()
    secrets = ("postgres/password", "postgres/admin-password", "redis/password", "redis/redis.conf")
    assert {(running.folder / name).stat().st_mode & 0o777 for name in secrets} == {0o600}
    shown = [psutil.Process(pid).cmdline() for pid in pids(running) if pid is not None]
    password = str(address.password)
    assert not any(password in part or str(cache.password) in part for command in shown for part in command)


def test_brokers_let_a_dead_worker_s_partitions_go_soon(running: LocalStack) -> None:
    """The broker has the shorter timing of the new group protocol and creates no topic automatically."""
    admin = AdminClient({"bootstrap.servers": running.environment()["STREAMS_KAFKA_BOOTSTRAP_SERVERS"]})
    (described,) = admin.describe_configs([ConfigResource(ConfigResource.Type.BROKER, "1")]).values()
    found = {name: entry.value for name, entry in described.result(10).items()}
    assert found["group.consumer.session.timeout.ms"] == "10000"
    assert found["auto.create.topics.enable"] == "false"
    assert found["unclean.leader.election.enable"] == "false"


@pytest.mark.requirement("The local stack", "`up` may be repeated")
def test_up_on_a_running_stack_changes_nothing(running: LocalStack) -> None:
    before = pids(running)
    done = streams_local(running.folder, "up", "--json")
    assert done.returncode == 0, done.stderr
    assert [(row["name"], row["running"], row["pid"]) for row in json.loads(done.stdout)] == [
        (name, True, pid) for name, pid in zip(NAMES, before, strict=True)
    ]


@pytest.mark.requirement("The local stack", "`env` is all that a shell needs")
def test_env_is_something_a_shell_can_take(running: LocalStack) -> None:
    done = streams_local(running.folder, "env")
    shown = subprocess.run(
        ["sh", "-c", 'eval "$1"; env', "sh", done.stdout],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/bin"},
    )
    assert dict(line.split("=", 1) for line in shown.stdout.splitlines()).items() >= running.environment().items()
    assert json.loads(streams_local(running.folder, "env", "--json").stdout) == running.environment()


@pytest.mark.requirement("The local stack", "`down` then `up` within 15 s, data and addresses kept")
def test_down_then_up_within_15_seconds_keeps_data_and_addresses(running: LocalStack) -> None:
    """No server runs after `down`, and the ports are free. Two concurrent `up` start each server once."""
    before = running.environment()
    ports = [int(server.address.rpartition(":")[2]) for server in running.status()]
    old = [pid for pid in pids(running) if pid is not None]
    start = time.monotonic()
    running.down()
    assert pids(running) == [None, None, None]
    assert [pid for pid in old if process_identity(pid) is not None] == []
    assert [port for port in ports if accepts(port)] == []
    others = [LocalStack(running.folder) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(LocalStack.up, others))
    assert time.monotonic() - start < 15
    assert None not in pids(running)
    assert pids(others[0]) == pids(others[1]) == pids(running)
    assert running.environment() == before
    assert_data(before)


@pytest.mark.requirement("The local stack", "servers that were killed come back")
def test_servers_that_were_killed_come_back_with_their_data(running: LocalStack) -> None:
    """SIGKILL of all three, and `up` immediately after it, while the system still removes them."""
    for pid in pids(running):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    running.up()
    assert None not in pids(running)
    assert_data(running.environment())


@pytest.mark.requirement("The local stack", "a failed start prints the server's own last lines")
def test_a_failed_start_says_why_and_leaves_nothing_running(running: LocalStack) -> None:
    """PostgreSQL cannot read its settings.

    Its last log lines and one line of the command are shown, the exit code is 1, and all servers are stopped.
    """
    running.down()
    configuration = running.folder / "postgres" / "data" / "postgresql.conf"
    kept = configuration.read_text()
    configuration.write_text(kept + "\nno_such_setting = 1\n")
    try:
        done = streams_local(running.folder, "up")
        assert done.returncode == 1
        assert 'unrecognized configuration parameter "no_such_setting"' in done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith("streams: PostgreSQL did not start: it ended with exit code 1")
        assert pids(running) == [None, None, None]
    finally:
        configuration.write_text(kept)


def test_the_number_of_brokers_of_a_folder_cannot_change(stack: LocalStack) -> None:
    with pytest.raises(StackError, match=r"has 1 Kafka broker\(s\), which cannot become 3"):
        LocalStack(stack.folder, brokers=3).up()


@pytest.mark.requirement("The local stack", "`--brokers N`, three copies from three brokers on")
def test_three_brokers_keep_three_copies(tmp_path: Path) -> None:
    """Three brokers answer. A topic with default settings has three replicas, of which two must be in sync."""
    stack = LocalStack(tmp_path, brokers=3)
    stack.up()
    try:
        assert [server.name for server in stack.status()] == ["kafka-1", "kafka-2", "kafka-3", "postgres", "redis"]
        servers = stack.environment()["STREAMS_KAFKA_BOOTSTRAP_SERVERS"]
        admin = AdminClient({"bootstrap.servers": servers})
        admin.create_topics([NewTopic("copied", 3, -1)])["copied"].result(20)
        # A broker may answer before it knows the topic.
        wait_for(lambda: copies(admin, "copied") == [3, 3, 3], "three copies of each partition")
        wait_for(lambda: in_sync(admin, "copied") == "2", "two copies that must be in sync")
    finally:
        stack.down()
    assert [server.running for server in stack.status()] == [False] * 5


def test_where_no_stack_was_started_there_is_nothing_to_show_or_stop(tmp_path: Path) -> None:
    """`status` is empty, `down` succeeds and creates no folder, `env` names the command to run."""
    folder = tmp_path / "none"
    stack = LocalStack(folder)
    assert stack.status() == []
    stack.down()
    assert not folder.exists()
    done = streams_local(folder, "env")
    assert done.returncode == 1
    assert done.stderr == f"streams: there is no local stack in {folder}: run `streams local up`\n"


def test_a_damaged_state_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StackError, match="is damaged: remove"):
        LocalStack(tmp_path).status()


def test_a_process_that_has_a_dead_server_s_id_is_left_alone(tmp_path: Path) -> None:
    """The file names a running process with another start time."""
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            record = {"pid": bystander.pid, "birth": "another boot:1"}
            (tmp_path / "process.json").write_text(json.dumps(record))
            server = ServerProcess("Server", tmp_path)
            assert server.pid is None
            assert server.stop() is False
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_server_that_ended_before_it_was_looked_at_does_not_run(tmp_path: Path) -> None:
    """The file has no start time. An id without a process has none either, but they are not the same."""
    with subprocess.Popen(["true"]) as gone:
        gone.wait(10)
    (tmp_path / "process.json").write_text(json.dumps({"pid": gone.pid, "birth": None}))
    server = ServerProcess("Server", tmp_path)
    assert server.pid is None
    assert server.stop() is False


def test_a_server_that_ignores_the_wish_to_end_is_killed(tmp_path: Path) -> None:
    server = ServerProcess("Server", tmp_path, stop_timeout=0.3)
    server.start(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
    until = time.monotonic() + 10
    while "ready" not in server.last_lines():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert server.stop() is True
    assert server.pid is None


@pytest.mark.requirement("The local stack", "free ports")
def test_a_remembered_port_that_another_program_took_is_replaced() -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        taken = int(other.stdout.readline())
        kept = allocate_ports({}, ["kept"])["kept"]
        settled = allocate_ports({"taken": taken, "kept": kept}, ["taken", "kept", "new"])
        other.communicate("\n", timeout=10)
    assert settled["taken"] != taken
    assert settled["kept"] == kept
    assert len(set(settled.values())) == 3


def test_the_part_of_a_path_that_is_closed_to_others_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "open").mkdir(parents=True)
    closed.chmod(0o700)
    assert inaccessible_part(Path("/usr/bin")) is None
    assert inaccessible_part(closed / "open" / "not-yet") is not None


def in_sync(admin: AdminClient, topic: str) -> str | None:
    """Return how many copies of a partition must be in sync; None: the broker does not know the topic yet."""
    (described,) = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
    try:
        value: str | None = described.result(10)["min.insync.replicas"].value
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise
    return value


def copies(admin: AdminClient, topic: str) -> list[int]:
    """Return the number of copies of each partition; empty while the broker does not know the topic."""
    known = admin.list_topics(timeout=10).topics.get(topic)
    return [] if known is None else [len(partition.replicas) for partition in known.partitions.values()]
