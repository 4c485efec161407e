"""The file storage port: upload files, claim checks. One adapter so far: a folder."""

import asyncio
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Protocol
from urllib.parse import unquote, urlsplit

from streams.settings import Settings, SettingsError

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


class FileMissingError(Exception):
    """The storage has no file of that key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the file {key} is not in the storage")
        self.key = key


class StorageAwayError(Exception):
    """The file system behind the storage fails: it is full, read-only, or gone. Not the file's fault."""


class Storage(Protocol):
    """Files by key, a relative path with slashes such as ``upload_files/<tenant>/<uuid>.txt``.

    A key that would lead out of the storage raises ValueError; a storage that fails as a whole, StorageAwayError.
    """

    async def read(self, key: str) -> bytes:
        """The file's bytes; raises FileMissingError."""

    async def write(self, key: str, content: bytes) -> None:
        """Make or replace the file, whole or not at all."""

    async def delete(self, key: str) -> None:
        """Remove the file; a missing one is fine, so that a repeat is."""

    async def exists(self, key: str) -> bool:
        """Whether there is a file of that key."""


class FolderStorage:
    """A storage on a file system that all workers see."""

    def __init__(self, folder: Path) -> None:
        """The folder need not exist before the first write."""
        self.folder = folder.resolve()

    def _path(self, key: str) -> Path:
        path = (self.folder / key).resolve()
        if path == self.folder or not path.is_relative_to(self.folder):
            message = f"{key!r} is not the key of a file in the storage"
            raise ValueError(message)
        return path

    async def read(self, key: str) -> bytes:
        """The file's bytes; raises FileMissingError."""
        try:
            with _told_apart():
                return await asyncio.to_thread(self._path(key).read_bytes)
        except FileNotFoundError as error:
            raise FileMissingError(key) from error

    async def write(self, key: str, content: bytes) -> None:
        """Make or replace the file, whole or not at all."""
        with _told_apart():
            await asyncio.to_thread(_replace, self._path(key), content)

    async def delete(self, key: str) -> None:
        """Remove the file; a missing one is fine."""
        path = self._path(key)
        with _told_apart():
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def exists(self, key: str) -> bool:
        """Whether there is a file of that key."""
        return await asyncio.to_thread(self._path(key).is_file)


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


def open_storage(settings: Settings) -> Storage:
    """The storage of STREAMS_STORAGE_URL: ``file:relative/folder`` or ``file:///absolute/folder``.

    Raises SettingsError for any other kind.
    """
    url = urlsplit(settings.storage_url)
    if url.scheme != "file" or url.netloc not in {"", "localhost"} or not url.path.strip("/"):
        message = f"STREAMS_STORAGE_URL: {settings.storage_url!r} is not a folder; write file:PATH"
        raise SettingsError(message)
    return FolderStorage(Path(unquote(url.path)))
