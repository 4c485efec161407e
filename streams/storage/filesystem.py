"""A folder as the storage, on a file system that all workers share."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE, S_ISREG
from tempfile import NamedTemporaryFile

from streams.storage.port import FileMissingError, StorageAwayError, StorageKeyError, checked_key

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


_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
"""The errors of a path that leads to no file."""
_OF_A_NEW_FOLDER = 0o750
"""The permissions of a storage folder that does not exist yet."""


class Folder:
    """Files in one folder.

    Files and folders below it get the folder's own permissions. So who may enter the folder may read the files: the
    platform may run under another account.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the folder. It need not exist before the first write."""
        self.folder = folder.resolve()

    def read(self, key: str) -> bytes:
        """Return the file's bytes. Raises FileMissingError."""
        path = self._path(key)
        with _translate_errors(key):
            return path.read_bytes()

    def write(self, key: str, content: bytes) -> None:
        """Create or replace the file atomically."""
        path = self._entry(key)
        with _translate_errors(key):
            try:
                self._write(path, content)
            except OSError as error:
                # A part of the key is a file, or the key is a folder.
                if error.errno in _NO_FILE or isinstance(error, FileExistsError):
                    raise StorageKeyError(key) from error
                raise

    def delete(self, key: str) -> None:
        """Delete the file if it exists. Of a link, delete the link and not what it leads to."""
        path = self._entry(key)
        with suppress(FileMissingError), _translate_errors(key):
            path.unlink()

    def exists(self, key: str) -> bool:
        """Return True if the file exists."""
        path = self._path(key)
        with suppress(FileMissingError), _translate_errors(key):
            return S_ISREG(path.stat().st_mode)
        return False

    def keys(self, folder: str) -> Sequence[str]:
        """Return the keys of all files directly in a folder. Files that are being written are left out."""
        path = self._path(folder)
        with suppress(FileMissingError), _translate_errors(folder):
            return [f"{folder}/{file.name}" for file in path.iterdir() if not file.name.startswith(".")]
        return []

    def _path(self, key: str) -> Path:
        """Return what a key leads to, also by links. Raises StorageKeyError if that is outside of the storage."""
        return self._inside(self.folder / checked_key(key), key)

    def _entry(self, key: str) -> Path:
        """Return the place of a key itself: a link is not followed, but its folders are. Raises StorageKeyError."""
        path = self.folder / checked_key(key)
        return self._inside(path.parent, key) / path.name

    def _inside(self, path: Path, key: str) -> Path:
        try:
            path = path.resolve()
        except RuntimeError as error:  # links that lead to each other
            raise StorageKeyError(key) from error
        if not path.is_relative_to(self.folder):
            raise StorageKeyError(key)
        return path

    def _write(self, path: Path, content: bytes) -> None:
        mode = self._make_folders(path.parent)
        with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), mode & 0o666)
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def _make_folders(self, folder: Path) -> int:
        """Create the missing folders with the permissions of the storage folder. Returns these permissions."""
        try:
            mode = S_IMODE(self.folder.stat().st_mode)
        except FileNotFoundError:
            mode = _OF_A_NEW_FOLDER
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            _make_folder(self.folder, mode)
        below = folder.relative_to(self.folder).parts
        for depth in range(1, len(below) + 1):
            part = self.folder.joinpath(*below[:depth])
            if not part.is_dir():
                _make_folder(part, mode)
        return mode


def _make_folder(folder: Path, mode: int) -> None:
    """Create a folder with these permissions, whatever the umask is. Another process may create it at the same time."""
    folder.mkdir(exist_ok=True)
    with suppress(PermissionError):  # the other process belongs to another account, and sets them itself
        folder.chmod(mode)


@contextmanager
def _translate_errors(key: str) -> Iterator[None]:
    """Raise StorageAwayError for failures of the whole file system, and FileMissingError for a path without a file.

    The messages of other errors name the key and not the path, which is the machine's own affair.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _UNAVAILABLE:
            message = f"the storage does not work: {error.strerror}"
            raise StorageAwayError(message) from error
        if error.errno in _NO_FILE:
            raise FileMissingError(key) from error
        raise OSError(error.errno, f"{error.strerror}: {key}") from error
