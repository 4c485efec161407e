"""One at a time in a folder, over all processes."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL = 0.05


class LockBusyError(Exception):
    """Another process held the lock for longer than the bound."""


@contextmanager
def exclusive(path: Path, *, timeout: float, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a file, made if it is missing; the system frees it with the process.

    `on_wait` is called once where another has it. Raises LockBusyError after `timeout` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + timeout
    told = False
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise LockBusyError(f"another process holds {path} for more than {timeout:.0f} s") from error
            if not told:
                on_wait()
                told = True
            time.sleep(_POLL)
        yield
