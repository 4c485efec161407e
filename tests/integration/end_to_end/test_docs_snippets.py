"""Every command and Python snippet of the pages is run as it stands, in the order of the page, by one shell a page.

A block is left out only where a comment in front of it says why: `<!-- not run: reason -->`. A block marked
``text output`` holds lines that the block before it has to print; that block is repeated until it does.
"""

import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.settings import Settings
from tests.support.pages import Block, Page, pages, runnable
from tests.support.processes.worker_process import BIN, PATIENCE, free_port

ROOT = Path(__file__).parents[3]
MARK = "@@ the block has ended"
LOOK = 0.2
"""Seconds without output after which it is looked whether the shell still runs."""


class Shell:
    """A bash that ends at the first command that fails."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eu"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )

    def run(self, script: str) -> str:
        """What a script prints; fails where it fails.

        The end of its output tells nothing: what the page has put into the background has it open, too.
        """
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{script}\necho {shlex.quote(MARK)}\n".encode())
        self._bash.stdin.flush()
        printed, mark = b"", f"{MARK}\n".encode()
        while mark not in printed:
            ended = self._bash.poll() is not None
            if select.select([self._bash.stdout], [], [], LOOK)[0]:
                printed += os.read(self._bash.stdout.fileno(), 65_536)
            elif ended:
                message = f"a command of this block failed:\n{script}\nIt printed:\n{printed.decode()}"
                raise AssertionError(message)
        return printed.partition(mark)[0].decode()

    def close(self) -> None:
        """End it and all that it has started: politely, then for certain."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._bash.pid, number)
            except ProcessLookupError:
                break
            until = time.monotonic() + 20
            while self._any_left() and time.monotonic() < until:
                time.sleep(0.05)
        self._bash.communicate()

    def _any_left(self) -> bool:
        self._bash.poll()
        try:
            os.killpg(self._bash.pid, 0)
        except ProcessLookupError:
            return False
        return True


@pytest.fixture
def shell(topics: Settings, environment: dict[str, str], tmp_path: Path) -> Iterator[Shell]:  # noqa: ARG001 - topics: made
    """A shell in a folder that looks like the project's, with the settings of a local stack."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    made = Shell(
        tmp_path,
        {
            **os.environ,
            **environment,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "STREAMS_WEB_PORT": str(free_port()),
            "PORT": str(free_port()),
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
        },
    )
    yield made
    made.close()


# A page is many commands, each with a bound of its own; on a busy machine they take minutes together.
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page", [page for page in pages() if any(map(runnable, page.blocks))], ids=lambda page: page.name
)
def test_the_snippets_of_a_page_run(shell: Shell, tmp_path: Path, page: Page) -> None:
    """Each block ends without an error and prints what the page says it prints."""
    last = ""
    for block, following in zip(page.blocks, [*page.blocks[1:], None], strict=True):
        if block.is_output:
            _await_output(shell, last, block)
        elif runnable(block):
            last = _script(block, tmp_path)
            if following is None or not following.is_output:
                printed = shell.run(last)
                assert "Traceback" not in printed, printed


def _script(block: Block, folder: Path) -> str:
    if block.language == "bash":
        return block.text
    file = folder / "snippet.py"
    file.write_text(block.text)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(file))}"


def _await_output(shell: Shell, script: str, block: Block) -> None:
    """Repeat a block that only looks until it prints the expected lines; blanks count as one, … for anything."""
    wanted = [re.compile(_pattern(line)) for line in block.text.splitlines() if line.strip()]
    until = time.monotonic() + PATIENCE
    while True:
        printed = shell.run(f"{{ {script.rstrip()}\n}} || true")
        lines = [" ".join(line.split()) for line in printed.splitlines()]
        missing = [pattern.pattern for pattern in wanted if not any(map(pattern.search, lines))]
        if not missing:
            return
        assert time.monotonic() < until, f"{script}\nnever printed {missing}, but\n{printed}"


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part.strip()) for part in " ".join(line.split()).split("…"))
