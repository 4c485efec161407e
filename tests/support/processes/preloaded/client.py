"""Stands for a preloaded command: `python -I -S client.py SOCKET COMMAND [ARGUMENT…]`. It imports little, to be fast.

SIGQUIT kills the process by SIGKILL, and this program ends once it is dead.
"""

import json
import os
import resource
import signal
import socket
import sys
from types import FrameType

LIMITS = ("RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NOFILE")
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main() -> None:
    """Ask the server for the process, pass signals on to it, and end as it does."""
    address, *arguments = sys.argv[1:]
    mask = os.umask(0)
    os.umask(mask)
    request = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 - pathlib takes too long to import
        "umask": mask,
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS},
        "ignored": [number for number in PASSED_ON if signal.getsignal(number) is signal.SIG_IGN],
    }
    server = socket.socket(socket.AF_UNIX)

    def pass_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal's signature
        server.sendall(b"%d\n" % number)

    def kill(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal's signature
        server.sendall(b"%d\n" % signal.SIGKILL)

    server.connect(address)
    body = json.dumps(request, ensure_ascii=True).encode()
    # Signals that come before the process exists are sent to it once it does: the socket keeps their order.
    socket.send_fds(server, [b"%d\n" % len(body)], [0, 1, 2])
    server.sendall(body)
    for number in PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    signal.signal(signal.SIGQUIT, kill)
    said = b""
    while part := server.recv(100):
        said += part
    code = int(said) if said else -signal.SIGKILL
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
