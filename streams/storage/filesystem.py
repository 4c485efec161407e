"""A folder as the storage, on a file system that all workers see."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from streams.storage.port import FileMissingError, StorageAwayError

_AWAY = {
    errno.EIO,
    errno.ENODEV,
    errno.ENOSPC,
    errno.EROFS,
    errno.EDQUOT,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
}
"""What a full disk, or a network file system that is away, answers with: no other file would fare better."""


class Folder:
    """Files below one folder."""

    def __init__(self, folder: Path) -> None:
        """The folder need not exist before the first write."""
        self.folder = folder.resolve()

    def read(self, key: str) -> bytes:
        """The file's bytes; raises FileMissingError."""
        try:
            with _told_apart():
                return self._path(key).read_bytes()
        except FileNotFoundError as error:
            raise FileMissingError(key) from error

    def write(self, key: str, content: bytes) -> None:
        """Make or replace the file, whole or not at all."""
        with _told_apart():
            _replace(self._path(key), content)

    def delete(self, key: str) -> None:
        """Remove the file; a missing one is fine."""
        with _told_apart():
            self._path(key).unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """Whether there is a file of that key."""
        return self._path(key).is_file()

    def keys(self, folder: str) -> Sequence[str]:
        """The keys of all files directly in a folder; those that are being written are none yet."""
        path = self._path(folder)
        with _told_apart():
            try:
                return [f"{folder}/{file.name}" for file in path.iterdir() if not file.name.startswith(".")]
            except FileNotFoundError:
                return []

    def _path(self, key: str) -> Path:
        path = (self.folder / key).resolve()
        if path == self.folder or not path.is_relative_to(self.folder):
            message = f"{key!r} is not the key of a file in the storage"
            raise ValueError(message)
        return path


@contextmanager
def _told_apart() -> Iterator[None]:
    """What is the file system's own failure is raised as such."""
    try:
        yield
    except OSError as error:
        if error.errno in _AWAY:
            message = f"the storage does not work: {error.strerror}"
            raise StorageAwayError(message) from error
        raise


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
