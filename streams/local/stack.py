"""The local stack: three servers, one folder."""

import json
import os
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from streams.local.kafka import Kafka
from streams.local.lock import LockBusyError, exclusive
from streams.local.ports import settle_ports
from streams.local.postgres import Postgres
from streams.local.process import ServerProcess, StartUp
from streams.local.redis import Redis

_LOCK_TIMEOUT = 300.0


class StackError(Exception):
    """What was asked of the stack cannot be; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server as it is now."""

    name: str
    pid: int | None
    running: bool
    address: str
    folder: Path


class Server(Protocol):
    """What the stack asks of each kind of server."""

    name: str
    processes: list[ServerProcess]

    @property
    def address(self) -> str:
        """host:port, several separated by commas."""

    def start(self, start_up: StartUp) -> None:
        """Start what does not run and wait until it answers. Raises ServerFailedError."""

    def stop(self) -> bool:
        """Stop what runs; True if anything ran."""


@dataclass(slots=True)
class State:
    """What a folder remembers from one `up` to the next."""

    brokers: int
    cluster_id: str = field(default_factory=lambda: urlsafe_b64encode(uuid4().bytes).decode().rstrip("="))
    ports: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "State | None":
        """The folder's state; None where no stack was ever started. Raises StackError for a file that is not ours."""
        try:
            read = json.loads(path.read_text())
            return cls(read["brokers"], read["cluster_id"], read["ports"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise StackError(f"{path} is damaged; remove {path.parent} to begin anew") from error

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"brokers": self.brokers, "cluster_id": self.cluster_id, "ports": self.ports}))
        fresh.replace(path)


class LocalStack:
    """Kafka, PostgreSQL and Redis whose data, logs and ports live in one folder. Several folders: several stacks.

    Args:
        folder: made by `up`.
        brokers: how many Kafka brokers; None: as many as the folder has, one in a new one.
    """

    def __init__(self, folder: Path, brokers: int | None = None) -> None:
        self.folder = folder.absolute()
        self._asked = brokers
        self._state_file = self.folder / "state.json"
        self._servers: tuple[Server, ...] = ()
        self._state: State | None = None

    def up(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Start what does not run; return when all answer. `say` hears what goes on, from several threads.

        Raises StackError, or ServerFailedError for the first server that failed; then what this call started is
        stopped again.
        """
        with self._locked(say):
            state = State.load(self._state_file) or State(self._asked or 1)
            if self._asked not in {None, state.brokers}:
                raise StackError(
                    f"{self.folder} has {state.brokers} Kafka broker(s) and cannot change to {self._asked}: "
                    "use another STREAMS_LOCAL_DIR, or stop it and remove that folder"
                )
            servers = self._load(state)
            if "web" not in state.ports:
                state.ports.update(settle_ports(state.ports, ["web"]))
            state.save(self._state_file)
            (self.folder / "storage").mkdir(exist_ok=True)
            try:
                _start_all(servers, say)
            finally:
                state.save(self._state_file)

    def down(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Stop what runs; the data stays. Nothing to do is no error."""
        if not self._state_file.exists():
            return
        with self._locked(say):
            servers = self._servers_of_folder()
            with ThreadPoolExecutor(len(servers)) as threads:
                for stopping in [threads.submit(server.stop) for server in servers]:
                    stopping.result()

    def status(self) -> list[ServerStatus]:
        """Every server of the folder; none where no stack was ever started."""
        return [
            ServerStatus(
                name=server.name if len(server.processes) == 1 else f"{server.name}-{number}",
                pid=pid,
                running=pid is not None,
                address=address,
                folder=process.folder,
            )
            for server in self._servers_of_folder()
            for number, (process, address) in enumerate(
                zip(server.processes, server.address.split(","), strict=True), start=1
            )
            for pid in (process.pid,)
        ]

    def environment(self) -> dict[str, str]:
        """The settings that lead a program to this stack. Raises StackError where none was ever started."""
        kafka, postgres, redis = self._kinds()
        assert self._state is not None
        return {
            "STREAMS_LOCAL_DIR": str(self.folder),
            "STREAMS_KAFKA_BOOTSTRAP_SERVERS": kafka.address,
            # These brokers' session and heartbeat are lowered (see `broker_settings`).
            "STREAMS_GROUP_PROTOCOL": "consumer",
            "STREAMS_DATABASE_URL": postgres.url,
            "STREAMS_REDIS_URL": redis.url,
            "STREAMS_STORAGE_URL": f"file:{self.folder / 'storage'}",
            "STREAMS_WEB_PORT": str(self._state.ports["web"]),
        }
