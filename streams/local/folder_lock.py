"""A lock file: one process at a time works in a folder."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL = 0.05


class LockBusyError(Exception):
    """Another process held the lock for longer than the time limit."""


@contextmanager
def exclusive(path: Path, *, timeout: float, on_wait: Callable[[], None]) -> Iterator[None]:
    """Lock a file, which is created if it is missing. The operating system frees the lock when the process ends.

    Args:
        path: the lock file.
        timeout: the longest wait in seconds.
        on_wait: called once if another process holds the lock.

    Raises:
        LockBusyError: the lock is not free within the timeout.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + timeout
    reported = False
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise LockBusyError(f"another process holds {path} for more than {timeout:.0f} s") from error
            if not reported:
                on_wait()
                reported = True
            time.sleep(_POLL)
        yield
