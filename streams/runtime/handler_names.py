"""The names of the declared handlers, for a process that does not run them.

The handlers' libraries take some 80 MiB and seconds to import. A process of its own imports them, prints the names and
ends.
"""

import json
import subprocess
import sys
import threading

from streams.observability.logs import get_logger
from streams.runtime.declarations import build_handlers
from streams.settings import SettingsError, load_settings

log = get_logger(__name__)


class HandlerNames:
    """Reads the names in the background."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._stopped = False
        self.names: frozenset[str] | None = None
        """None: they are not known yet, or the handlers cannot be imported."""

    def start(self) -> None:
        """Start to read the names."""
        self._child = subprocess.Popen(  # noqa: S603 - this module itself
            [sys.executable, "-m", __name__], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._wait, args=(self._child,), name="handler-names", daemon=True).start()

    def stop(self) -> None:
        """Do not wait for the names any more."""
        self._stopped = True
        if self._child is not None:
            self._child.kill()

    def _wait(self, child: "subprocess.Popen[str]") -> None:
        output, errors = child.communicate()
        if child.returncode == 0:
            self.names = frozenset(json.loads(output))
        elif not self._stopped:
            lines = [line for line in errors.splitlines() if line.strip()]
            log.error(
                "handlers cannot be imported; metrics with their names are left out",
                error=lines[-1] if lines else f"exit code {child.returncode}",
            )


def main() -> None:
    """Print the names as a JSON list, or the wrong setting in one line."""
    try:
        names = sorted(handler.name for handler in build_handlers(load_settings()))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.stdout.write(json.dumps(names))


if __name__ == "__main__":
    main()
