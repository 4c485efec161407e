"""The demo in a process of its own, as a user runs it."""

import os
import subprocess
from pathlib import Path

from tests.support.processes.preloaded import BIN

ROOM = Path("demo")


def environment(folder: Path) -> dict[str, str]:
    """Return a user's environment, in which the demo's folder is the only setting."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STREAMS_")}
    return {**kept, "STREAMS_LOCAL_DIR": str(folder)}


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "streams", "demo", *arguments],
        env=environment(folder),
        text=True,
        capture_output=True,
        timeout=110,
        check=False,
    )


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of processes whose command or environment has the demo's folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if process.name.isdigit() and (str(folder / ROOM) in command or str(folder / ROOM) in environ):
            found.append(command)
    return found
