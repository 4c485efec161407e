"""A folder as the storage, on a file system that all workers share."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from streams.storage.port import FileMissingError, StorageAwayError

_UNAVAILABLE = {
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
"""The errors of a full disk or of an unavailable network file system. All other files would fail too."""


class Folder:
    """Files in one folder."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder. It need not exist before the first write."""
        self.folder = folder.resolve()

    def read(self, key: str) -> bytes:
        """Return the file's bytes. Raises FileMissingError."""
        try:
            with _translate_errors():
                return self._path(key).read_bytes()
        except FileNotFoundError as error:
            raise FileMissingError(key) from error

    def write(self, key: str, content: bytes) -> None:
        """Create or replace the file atomically."""
        with _translate_errors():
            _write_atomically(self._path(key), content)

    def delete(self, key: str) -> None:
        """Delete the file if it exists."""
        with _translate_errors():
            self._path(key).unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """Return True if the file exists."""
        return self._path(key).is_file()

    def keys(self, folder: str) -> Sequence[str]:
        """Return the keys of all files directly in a folder. Files that are being written are left out."""
        path = self._path(folder)
        with _translate_errors():
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
def _translate_errors() -> Iterator[None]:
    """Raise StorageAwayError for failures of the whole file system."""
    try:
        yield
    except OSError as error:
        if error.errno in _UNAVAILABLE:
            message = f"the storage does not work: {error.strerror}"
            raise StorageAwayError(message) from error
        raise


def _write_atomically(path: Path, content: bytes) -> None:
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
