"""The names of the declared handlers and of the topics that they read, for a process that does not run them.

The handlers' libraries take some 80 MiB and seconds to import. A process of its own imports them, prints the names and
ends.
"""

import json
import subprocess
import sys
import threading
from dataclasses import dataclass

from streams.observability.logs import get_logger
from streams.runtime.declarations import build_catalogue, build_handlers, topics_to_read
from streams.settings import SettingsError, load_settings

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeclaredNames:
    """The names that the handlers declare."""

    handlers: frozenset[str]
    topics: frozenset[str]
    """The event topics that a handler reads."""


class HandlerNames:
    """Reads the names in the background."""

    def __init__(self, topics: frozenset[str]) -> None:
        """Read nothing yet.

        Args:
            topics: All event topics. Each counts as read if the handlers cannot be imported: it must stay watched.
        """
        self._topics = topics
        self._child: subprocess.Popen[str] | None = None
        self._stopped = False
        self.known: DeclaredNames | None = None
        """None: the names are not known yet."""

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
            found = json.loads(output)
            self.known = DeclaredNames(frozenset(found["handlers"]), frozenset(found["topics"]))
        elif not self._stopped:
            self.known = DeclaredNames(frozenset(), self._topics)
            lines = [line for line in errors.splitlines() if line.strip()]
            log.error(
                "handlers cannot be imported; their names are unknown, and every topic counts as read",
                error=lines[-1] if lines else f"exit code {child.returncode}",
            )


def main() -> None:
    """Print the names as a JSON object, or the wrong setting in one line."""
    try:
        settings = load_settings()
        handlers = build_handlers(settings)
        topics = topics_to_read(build_catalogue(settings), handlers)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.stdout.write(json.dumps({"handlers": sorted(handler.name for handler in handlers), "topics": sorted(topics)}))


if __name__ == "__main__":
    main()
