"""Runs Apache Kafka without ZooKeeper (KRaft): brokers from the fetched jars, one process per broker."""

import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.local.jars import ArtifactError, cache_folder, fetch_jars
from streams.local.java import Java, JavaMissingError, find_java
from streams.local.ports import HOST, accepts, allocate_ports
from streams.local.process import ServerFailedError, ServerProcess, StartUp

REPLICATED_FROM = 3
"""With this number of brokers or more, records have three copies, and there are three controllers."""
_ASCII = 128
_FORMAT_TIMEOUT = 60
_START_TIMEOUT = 90.0
_LOGGING = {
    "defaultLogLevel": "warn",
    "showDateTime": "true",
    "dateTimeFormat": "yyyy-MM-dd'T'HH:mm:ss.SSS",
    "showThreadName": "false",
}


def broker_settings(brokers: int) -> dict[str, str]:
    """Return the settings of the brokers; `docker-compose.kafka.yml` has the same."""
    copies = "3" if brokers >= REPLICATED_FROM else "1"
    in_sync = "2" if brokers >= REPLICATED_FROM else "1"
    return {
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        # KIP-848's timing is set in the brokers. By default the partitions of a dead worker have no consumer for 45 s.
        "group.consumer.min.session.timeout.ms": "6000",
        "group.consumer.session.timeout.ms": "10000",
        "group.consumer.min.heartbeat.interval.ms": "1000",
        "group.consumer.heartbeat.interval.ms": "2000",
        "group.initial.rebalance.delay.ms": "0",
    }


_SMALL = {
    # One machine, few clients: fewer threads, partitions and buffers than the defaults of a real cluster.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "2",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "log.index.size.max.bytes": "1048576",
    # A killed broker may restart before its previous session ends.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
}

_ALONE = {
    # The files of a deleted topic stay open for this long: by default for a minute, and longer right after the start.
    # A container may have 1,024 open files.
    "log.segment.delete.delay.ms": "1000",
    "log.initial.task.delay.ms": "1000",
}


class Kafka:
    """The brokers of one folder, numbered from 1."""

    def __init__(self, folder: Path, ports: dict[str, int], *, brokers: int, cluster_id: str, cache: Path) -> None:
        self.folder = folder
        self.brokers = brokers
        self._ports = ports
        self._cluster_id = cluster_id
        self._cache = cache
        # When three brokers stop together, the last one has no quorum for a controlled shutdown and would wait for
        # minutes.
        patience = 3.0 if len(self._controllers) > 1 else 10.0
        self.processes = [
            ServerProcess(f"Kafka broker {node}" if brokers > 1 else "Kafka", folder / str(node), stop_timeout=patience)
            for node in self._nodes
        ]

    @property
    def port_names(self) -> tuple[str, ...]:
        """Return the port names of the brokers and controllers."""
        controllers = [f"kafka-controller-{node}" for node in self._controllers]
        return (*(f"kafka-{node}" for node in self._nodes), *controllers)

    @property
    def address(self) -> str:
        """Return the bootstrap servers: host:port, separated by commas."""
        return ",".join(self.address_of(node) for node in self._nodes)

    def address_of(self, node: int) -> str:
        """Return the address of one broker."""
        return f"{HOST}:{self._ports[f'kafka-{node}']}"

    def start(self, start_up: StartUp) -> None:
        """Start the brokers that are not running, and wait until the cluster answers. Raises ServerFailedError."""
        try:
            java = find_java()
            jars = fetch_jars(cache_folder(self._cache), start_up)
        except (JavaMissingError, ArtifactError) as error:
            raise ServerFailedError(f"Kafka did not start: {error}") from error
        stopped = [node for node in self._nodes if not self._is_up(node, start_up)]
        if not stopped:
            return
        start_up.report(f"Kafka: starting {len(stopped)} of {self.brokers} brokers")
        if len(stopped) == self.brokers:
            self._ports.update(allocate_ports(self._ports, self.port_names))
        with ThreadPoolExecutor(len(stopped)) as threads:
            list(threads.map(lambda node: self._start_broker(node, java, jars), stopped))
        self._wait(stopped, start_up)

    def stop(self) -> bool:
        """Stop all brokers concurrently. Returns True if any was running."""
        with ThreadPoolExecutor(self.brokers) as threads:
            return any(list(threads.map(ServerProcess.stop, self.processes)))

    @property
    def _nodes(self) -> range:
        return range(1, self.brokers + 1)

    @property
    def _controllers(self) -> range:
        # Two controllers are worse than one: the loss of either stops both.
        return range(1, (REPLICATED_FROM if self.brokers >= REPLICATED_FROM else 1) + 1)

    def _is_up(self, node: int, start_up: StartUp) -> bool:
        client = _client(self.address_of(node))
        return self.processes[node - 1].is_up(partial(_has_brokers, client, 1), start_up, timeout=_START_TIMEOUT)

    def _start_broker(self, node: int, java: Java, jars: Path) -> None:
        process = self.processes[node - 1]
        data = process.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        config = process.folder / "server.properties"
        config.write_text("".join(f"{key}={_escaped(value)}\n" for key, value in self._config(node, data).items()))
        run = [str(java.path), *java.quiet_options, *_jvm_options(self.brokers), "-cp", f"{jars}/*"]
        if not (data / "meta.properties").is_file():
            self._format(process.name, [*run, "kafka.tools.StorageTool"], config)
        process.start([*run, "kafka.Kafka", str(config)], environment=_environment())

    def _format(self, name: str, tool: list[str], config: Path) -> None:
        command = [*tool, "format", "--ignore-formatted", f"--cluster-id={self._cluster_id}", "-c", str(config)]
        try:
            subprocess.run(  # noqa: S603 - the Java found above
                command, capture_output=True, text=True, timeout=_FORMAT_TIMEOUT, check=True, env=_environment()
            )
        except subprocess.TimeoutExpired as error:
            raise ServerFailedError(f"{name} did not format its folder within {_FORMAT_TIMEOUT} s") from error
        except subprocess.CalledProcessError as error:
            raise ServerFailedError(f"{name} cannot format its folder", error.stdout + error.stderr) from error

    def _config(self, node: int, data: Path) -> Mapping[str, str]:
        voters = ",".join(f"{voter}@{HOST}:{self._ports[f'kafka-controller-{voter}']}" for voter in self._controllers)
        listener = f"BROKER://{self.address_of(node)}"
        is_controller = node in self._controllers
        controller = f",CONTROLLER://{HOST}:{self._ports[f'kafka-controller-{node}']}" if is_controller else ""
        return {
            **broker_settings(self.brokers),
            **_SMALL,
            **(_ALONE if self.brokers == 1 else {}),
            "node.id": str(node),
            "process.roles": "broker,controller" if is_controller else "broker",
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": listener + controller,
            "advertised.listeners": listener,
            "inter.broker.listener.name": "BROKER",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(data),
        }

    def _wait(self, started: list[int], start_up: StartUp) -> None:
        try:
            for node in started:
                answers = partial(accepts, self._ports[f"kafka-{node}"])
                self.processes[node - 1].wait_until(answers, start_up, timeout=_START_TIMEOUT)
            client = _client(self.address)
            for node in started:
                answers = partial(_has_brokers, client, self.brokers)
                self.processes[node - 1].wait_until(answers, start_up, timeout=_START_TIMEOUT)
        except ServerFailedError:
            for node in started:
                self.processes[node - 1].stop()
            raise


def _escaped(value: str) -> str:
    """Return a value for a properties file (java.util.Properties): what is not ASCII becomes escaped UTF-16 units."""
    units = value.replace("\\", "\\\\").encode("utf-16-be", "surrogatepass")
    codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    return "".join(chr(code) if code < _ASCII else f"\\u{code:04x}" for code in codes)


def _environment() -> dict[str, str]:
    """Return the environment with a UTF-8 locale: without one, Java cannot open a path that is not ASCII."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _client(address: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.max.ms": 200})


def _has_brokers(client: AdminClient, count: int) -> bool:
    try:
        return len(client.list_topics(timeout=1.0).brokers) >= count
    except KafkaException:
        return False


def _jvm_options(brokers: int) -> list[str]:
    heap = "256m" if brokers >= REPLICATED_FROM else "384m"
    logging = [f"-Dorg.slf4j.simpleLogger.{key}={value}" for key, value in _LOGGING.items()]
    # The serial collector and the first compiler only: a quick start and little memory, on few cores.
    return [
        f"-Xmx{heap}",
        "-Xms64m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        *logging,
    ]
