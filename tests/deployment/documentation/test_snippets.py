"""Runs every command and Python snippet of the pages unchanged, in the order of the page, in one shell per page.

A block is skipped only if a comment before it gives the reason: `<!-- not run: reason -->`. A block marked
``text output`` has lines that the block before it must print. That block is repeated until it prints them.
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
from tests.support.processes.preloaded import BIN, commands_folder
from tests.support.processes.worker_process import PATIENCE, free_port

ROOT = Path(__file__).parents[3]
MARK = "@@ the block has ended"
POLL_INTERVAL = 0.2
"""Seconds without output after which the shell is checked."""


class Shell:
    """A bash process that ends at the first failed command."""

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
        """Run a script and return its output. The test fails if the script fails.

        A mark shows the end of the script: background processes of the page keep the output open.
        """
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{script}\necho {shlex.quote(MARK)}\n".encode())
        self._bash.stdin.flush()
        printed, mark = b"", f"{MARK}\n".encode()
        while mark not in printed:
            ended = self._bash.poll() is not None
            if select.select([self._bash.stdout], [], [], POLL_INTERVAL)[0]:
                printed += os.read(self._bash.stdout.fileno(), 65_536)
            elif ended:
                message = f"a command of this block failed:\n{script}\nIt printed:\n{printed.decode()}"
                raise AssertionError(message)
        return printed.partition(mark)[0].decode()

    def close(self) -> None:
        """End the shell and all processes that it has started: first SIGTERM, then SIGKILL."""
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
def shell(topics: Settings, environment: dict[str, str], tmp_path: Path) -> Iterator[Shell]:  # noqa: ARG001 - creates the topics
    """Return a shell in a folder with the examples, with the test's settings."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    made = Shell(
        tmp_path,
        {
            **os.environ,
            **environment,
            "PATH": f"{commands_folder()}:{BIN}:{os.environ['PATH']}",
            "STREAMS_WEB_PORT": str(free_port()),
            "PORT": str(free_port()),
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
        },
    )
    yield made
    made.close()


# A page has many commands. On a busy machine they take minutes together.
@pytest.mark.requirement(
    "A new user's two commands",
    "README: what it is, the two commands, what the demo showed, a picture, an event with its handler",
)
@pytest.mark.requirement("The example service", "the README walks through it with curl")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page", [page for page in pages() if any(map(runnable, page.blocks))], ids=lambda page: page.name
)
def test_the_snippets_of_a_page_run(shell: Shell, tmp_path: Path, page: Page) -> None:
    """Each block ends without an error and prints the output shown on the page."""
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
    """Repeat a read-only block until it prints the expected lines. `…` matches any text, and spaces are collapsed."""
    expected = [re.compile(_pattern(line)) for line in block.text.splitlines() if line.strip()]
    until = time.monotonic() + PATIENCE
    while True:
        printed = shell.run(f"{{ {script.rstrip()}\n}} || true")
        lines = [" ".join(line.split()) for line in printed.splitlines()]
        missing = [pattern.pattern for pattern in expected if not any(map(pattern.search, lines))]
        if not missing:
            return
        assert time.monotonic() < until, f"{script}\nnever printed {missing}, but\n{printed}"


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part.strip()) for part in " ".join(line.split()).split("…"))
