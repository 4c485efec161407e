"""The names of the declared handlers, for a process that does not run them.

The handlers' libraries take some 80 MiB and seconds to import. A process of its own imports them, prints the names and
ends.
"""

import json
import subprocess
import sys

from streams.runtime.declarations import build_handlers
from streams.settings import SettingsError, load_settings

WRONG_SETTINGS = 2


class HandlerNames:
    """Reads the names in the background."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._names: frozenset[str] | None = None

    @property
    def names(self) -> frozenset[str]:
        """The names; empty until `wait` has returned."""
        return self._names or frozenset()

    def start(self) -> None:
        """Start to read the names."""
        self._child = subprocess.Popen(  # noqa: S603 - this module itself
            [sys.executable, "-m", __name__], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait(self) -> None:
        """Wait until the names are known. Raises SettingsError; then the next call tries it again."""
        if self._names is not None:
            return
        if self._child is None:
            self.start()
        assert self._child is not None  # noqa: S101 - it has been started
        output, errors = self._child.communicate()
        code, self._child = self._child.returncode, None
        if code:
            lines = errors.split("\n")
            message = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
            raise SettingsError(message if code == WRONG_SETTINGS else f"the handlers cannot be imported: {message}")
        self._names = frozenset(json.loads(output))

    def stop(self) -> None:
        """Do not wait for the names any more."""
        if self._child is not None:
            self._child.kill()


def main() -> None:
    """Print the names as a JSON list, or the wrong setting in one line."""
    try:
        names = sorted(handler.name for handler in build_handlers(load_settings()))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(WRONG_SETTINGS)
    sys.stdout.write(json.dumps(names))


if __name__ == "__main__":
    main()
