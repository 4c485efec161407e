"""The local stack: three servers in one folder."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from streams.local.folder_lock import LockBusyError, exclusive
from streams.local.kafka import Kafka
from streams.local.ports import allocate_ports
from streams.local.postgres import Postgres
from streams.local.process import ServerProcess, StartUp
from streams.local.redis import Redis
from streams.local.state import State, StateError

_LOCK_TIMEOUT = 300.0
_WEB = "web"


class StackError(Exception):
    """The stack cannot do what was requested. The message is one line for the user."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The current state of one server."""

    name: str
    pid: int | None
    running: bool
    address: str
    """host:port."""
    folder: Path
    """Contains its data, its log and its process file."""


class Server(Protocol):
    """The interface of each kind of server."""

    @property
    def processes(self) -> Sequence[ServerProcess]:
        """Return its processes, in a fixed order."""

    def start(self, start_up: StartUp) -> None:
        """Start what is not running and wait until it answers. Raises ServerFailedError."""

    def stop(self) -> bool:
        """Stop what is running. Returns True if anything was running."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of a folder. They share the ports of the state."""

    state: State
    kafka: Kafka
    postgres: Postgres
    redis: Redis

    @classmethod
    def of(cls, folder: Path, state: State) -> "Servers":
        """Create the servers of a state."""
        kafka = Kafka(
            folder / "kafka",
            state.ports,
            brokers=state.brokers,
            cluster_id=state.cluster_id,
            cache=folder / "cache",
        )
        return cls(state, kafka, Postgres(folder / "postgres", state.ports), Redis(folder / "redis", state.ports))

    def __iter__(self) -> Iterator[Server]:
        return iter((self.kafka, self.postgres, self.redis))

    @property
    def port_names(self) -> tuple[str, ...]:
        """Return the names of all ports, including the worker's web port."""
        return (*self.kafka.port_names, *self.postgres.port_names, *self.redis.port_names, _WEB)

    def addresses(self) -> Iterator[tuple[str, ServerProcess, str]]:
        """Yield each process with its name and address for `status`."""
        for node, process in enumerate(self.kafka.processes, start=1):
            yield "kafka" if self.kafka.brokers == 1 else f"kafka-{node}", process, self.kafka.address_of(node)
        for server, name in ((self.postgres, "postgres"), (self.redis, "redis")):
            yield name, server.processes[0], server.address


class LocalStack:
    """Kafka, PostgreSQL and Redis with data, logs and ports in one folder. Several folders are several stacks.

    Args:
        folder: created by `up`.
        brokers: the number of Kafka brokers; None: the number of the folder, one in a new folder.
    """

    def __init__(self, folder: Path, brokers: int | None = None) -> None:
        self.folder = folder.absolute()
        self._brokers = brokers
        self._state_file = self.folder / "state.json"
        self._known: Servers | None = None

    def up(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Start what is not running, and return when all servers answer.

        `report` receives progress messages, from several threads. Raises StackError, or ServerFailedError of the server
        that failed first. After an error, the servers that this call started are stopped.
        """
        with self._locked(report):
            servers = self._load() or self._remember(State(self._brokers or 1))
            state = servers.state
            if self._brokers not in {None, state.brokers}:
                message = (
                    f"{self.folder} has {state.brokers} Kafka broker(s), which cannot become {self._brokers}: "
                    "use another STREAMS_LOCAL_DIR, or stop it and remove the folder"
                )
                raise StackError(message)
            missing = [name for name in servers.port_names if name not in state.ports]
            state.ports.update(allocate_ports(state.ports, missing))
            (self.folder / "storage").mkdir(exist_ok=True)
            state.save(self._state_file)
            try:
                _start_all(tuple(servers), report)
            finally:
                state.save(self._state_file)

    def down(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Stop what is running; the data stays. Nothing to do is no error. Raises StackError or ServerFailedError."""
        if self._load() is None:
            return
        with self._locked(report):
            servers = self._load()
            if servers is not None:
                _run_all(tuple(servers), lambda server: server.stop())

    def status(self) -> list[ServerStatus]:
        """Return the state of every server of the folder; empty if no stack was ever started."""
        servers = self._load()
        if servers is None:
            return []
        found = [(name, process.pid, address, process.folder) for name, process, address in servers.addresses()]
        return [ServerStatus(name, pid, pid is not None, address, folder) for name, pid, address, folder in found]

    def environment(self) -> dict[str, str]:
        """Return the settings for programs that use this stack. Raises StackError if none was ever started."""
        servers = self._load()
        if servers is None:
            raise StackError(f"there is no local stack in {self.folder}: run `streams local up`")
        return {
            "STREAMS_LOCAL_DIR": str(self.folder),
            "STREAMS_KAFKA_BOOTSTRAP_SERVERS": servers.kafka.address,
            # KIP-848: the brokers have a shorter session and heartbeat (see `broker_settings`).
            "STREAMS_GROUP_PROTOCOL": "consumer",
            "STREAMS_DATABASE_URL": servers.postgres.url,
            "STREAMS_REDIS_URL": servers.redis.url,
            "STREAMS_STORAGE_URL": f"file:{self.folder / 'storage'}",
            "STREAMS_WEB_PORT": str(servers.state.ports[_WEB]),
        }

    @property
    def database_admin_url(self) -> str:
        """Return the URL of PostgreSQL's superuser. Raises StackError if no stack was ever started."""
        servers = self._load()
        if servers is None:
            raise StackError(f"there is no local stack in {self.folder}: run `streams local up`")
        return servers.postgres.admin_url

    def _load(self) -> Servers | None:
        """Return the folder's servers with the current ports: another process may have started them meanwhile."""
        try:
            state = State.load(self._state_file)
        except StateError as error:
            raise StackError(str(error)) from error
        if state is None:
            return None
        if self._known is None or self._known.state.cluster_id != state.cluster_id:
            return self._remember(state)
        self._known.state.ports.update(state.ports)
        return self._known

    def _remember(self, state: State) -> Servers:
        self._known = Servers.of(self.folder, state)
        return self._known

    @contextmanager
    def _locked(self, report: Callable[[str], None]) -> Iterator[None]:
        def waiting() -> None:
            report(f"waiting for another command that uses {self.folder}")

        try:
            with exclusive(self.folder / "lock", timeout=_LOCK_TIMEOUT, on_wait=waiting):
                yield
        except LockBusyError as error:
            raise StackError(str(error)) from error
        except OSError as error:
            raise StackError(f"{error.filename or self.folder}: {error.strerror}") from error


def _start_all(servers: Sequence[Server], report: Callable[[str], None]) -> None:
    processes = [process for server in servers for process in server.processes]
    stopped = [process for process in processes if process.pid is None]
    start_up = StartUp(report)
    try:
        _run_all(servers, lambda server: server.start(start_up), start_up.cancelled)
    except BaseException:
        for process in stopped:
            process.stop()
        raise


def _run_all(
    servers: Sequence[Server], work: Callable[[Server], object], cancelled: threading.Event | None = None
) -> None:
    """Call `work` for all servers concurrently, wait for all, then raise the first error.

    `cancelled` is set as soon as anything fails, also on an interrupt.
    """
    cancelled = cancelled or threading.Event()
    with ThreadPoolExecutor(len(servers)) as threads:
        running = [threads.submit(work, server) for server in servers]
        try:
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            failed = [future for future in done if future.exception() is not None]
        finally:
            # No thread waits for the event after a success.
            cancelled.set()
    for future in [*failed, *running]:
        future.result()
