"""Exit with 0 if the container's process is alive. A worker and an exporter answer on their ports; others have none.

The role is read from the command line of process 1, or of the file that is given as an argument.
"""  # noqa: INP001 - a script of the image, not a package

import os
import sys
import urllib.request
from pathlib import Path

PORTS = {
    "worker": ("STREAMS_WEB_BIND", "STREAMS_WEB_PORT", "6066"),
    "exporter": ("STREAMS_EXPORTER_HOST", "STREAMS_EXPORTER_PORT", "9308"),
}
"""By role: the settings of address and port, and the default of the port."""
EVERY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to
TIMEOUT = 4.0
"""Seconds; less than the engine's own limit, so that the reason is printed."""


def page_of(arguments: list[str]) -> str | None:
    """Return the address of the page that tells whether this process is alive; None: it has no port."""
    role = next((role for role in PORTS if role in arguments), None)
    if role is None:
        return None
    bind, port, default = PORTS[role]
    host = os.environ.get(bind, "")
    host = "127.0.0.1" if host in EVERY_ADDRESS else host
    return f"http://{f'[{host}]' if ':' in host else host}:{os.environ.get(port) or default}/health/live"


def main() -> None:
    """Ask the page; exit with its address and the error if it does not answer with a success."""
    command = Path(sys.argv[1] if len(sys.argv) > 1 else "/proc/1/cmdline").read_bytes()
    page = page_of(command.decode(errors="replace").split("\0"))
    if page is None:
        return
    try:
        urllib.request.urlopen(page, timeout=TIMEOUT).close()  # noqa: S310 - always http
    except (OSError, ValueError) as error:
        sys.exit(f"{page}: {error}")


if __name__ == "__main__":
    main()
