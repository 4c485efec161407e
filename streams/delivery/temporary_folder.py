"""Temporary folders of attempts. What a killed worker leaves behind is removed by a later start."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.observability.logs import get_logger

log = get_logger(__name__)
_PREFIX = "streams-attempt-"
_LOCK = ".lock"
_NEW_SECONDS = 60.0
"""A younger folder may not have its lock yet."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder, and remove it with its files at the end.

    Its lock is held until then: a folder without a holder was left behind by a process that was killed.
    """
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(descriptor)


def remove_left_folders() -> int:
    """Remove the folders of this account whose process has ended. Returns their number."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if _is_left(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    if removed:
        log.info("removed temporary folders that a killed worker has left", folders=removed)
    return removed


def _is_left(folder: Path) -> bool:
    try:
        status = folder.lstat()
        if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _NEW_SECONDS:
            return False
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return folder.is_dir() and not folder.is_symlink()
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
