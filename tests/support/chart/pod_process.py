"""Runs the command of a rendered container on this machine, as far as a process can be like a container.

It has the variables of the container and no others, no capabilities, and the root file system is read-only. Only the
folder that stands for /tmp can be written. Without root, the file system stays as it is.
"""

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.support.chart.pods import FROM_SECRET, Container, environment, port_names
from tests.support.chart.render import Object
from tests.support.processes.preloaded import BIN
from tests.support.processes.worker_process import ROOT

_TEMPORARY = "/tmp"  # noqa: S108 - the path in the container
_READ_ONLY = """
mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,bind,ro / && cd "$0" &&
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


class PodProcess:
    """A process with the command and the variables of a container, and its output in a file."""

    def __init__(self, container: Container, found: Iterable[Object], secrets: Mapping[str, str], folder: Path) -> None:
        """Start the process.

        Args:
            container: The rendered container.
            found: All rendered objects.
            secrets: The values of the variables that come from Secrets.
            folder: It stands for /tmp.
        """
        variables = {
            name: secrets[name] if value == FROM_SECRET else value.replace(_TEMPORARY, str(folder))
            for name, value in environment(container, found).items()
        }
        self.container = container
        self.log = folder / "log"
        folder.mkdir(exist_ok=True)
        program, *arguments = container.spec["command"]
        isolation = ["unshare", "--mount", "sh", "-c", _READ_ONLY, str(folder)] if os.geteuid() == 0 else []
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*isolation, str(BIN / program), *map(str, arguments)],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **variables},
                stdout=output,
                stderr=output,
                cwd=folder,
            )

    def output(self) -> str:
        """Return what the process has written."""
        return self.log.read_text(encoding="utf-8")

    def probe(self, name: str) -> bool:
        """Return whether a probe of the container succeeds now. Fails if the process has ended."""
        assert self.process.poll() is None, self.output()
        get = self.container.spec[name]["httpGet"]
        try:
            with urlopen(
                f"http://127.0.0.1:{port_names(self.container)[get['port']]}{get['path']}", timeout=5
            ) as answer:
                return bool(answer.status == 200)
        except (HTTPError, OSError):
            return False

    def wait(self) -> int:
        """Wait for the end of a job. Returns its exit code."""
        return self.process.wait(120)

    def stop(self) -> int:
        """Send SIGTERM and return the exit code. Raises TimeoutExpired when the kubelet would kill the process."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(self.container.pod["terminationGracePeriodSeconds"])

    def kill(self) -> None:
        """End the process, if it still runs."""
        self.process.kill()
        self.process.wait()
