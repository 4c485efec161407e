"""The file storage interface: upload files and the payloads of large events, by key."""

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Protocol

_MAX_KEY_BYTES = 1024
"""The limit of S3."""
_MAX_NAME_BYTES = 240
"""The limit of a file name on Linux is 255. A file that is being written has a longer name for a while."""
_SHOWN = 200
"""The number of characters of a key in an error message."""


class FileMissingError(Exception):
    """The storage has no file with this key."""

    __module__ = "streams.storage"

    def __init__(self, key: str) -> None:
        super().__init__(f"the file {key} is not in the storage")
        self.key = key


class StorageAwayError(Exception):
    """The whole storage fails: it is full, read-only, unreachable or rejects the access. The file is not the reason."""

    __module__ = "streams.storage"


class StorageKeyError(ValueError):
    """The key is not the key of a file: it leads out of the storage, is a folder, or no storage can have it."""

    __module__ = "streams.storage"

    def __init__(self, key: str) -> None:
        super().__init__(f"{key[:_SHOWN]!r} is not the key of a file in the storage")


def checked_key(key: str) -> PurePosixPath:
    """Return the key as a relative path. Raises StorageKeyError if no storage can have a file with it."""
    path = PurePosixPath(key)
    try:
        parts = [part.encode() for part in path.parts]
    except UnicodeEncodeError:
        raise StorageKeyError(key) from None
    too_long = sum(map(len, parts)) + len(parts) > _MAX_KEY_BYTES or any(len(part) > _MAX_NAME_BYTES for part in parts)
    if not parts or path.is_absolute() or ".." in path.parts or "\x00" in key or too_long:
        raise StorageKeyError(key)
    return path


class Store(Protocol):
    """Files by key, a relative path such as ``upload_files/<tenant>/<uuid>.txt``. It blocks. Any thread may call it.

    A key that no file can have raises StorageKeyError. A failure of the whole storage raises StorageAwayError.
    """

    def read(self, key: str) -> bytes:
        """Return the file's bytes. Raises FileMissingError."""

    def write(self, key: str, content: bytes) -> None:
        """Create or replace the file atomically."""

    def delete(self, key: str) -> None:
        """Delete the file if it exists, so that it is safe to repeat this."""

    def exists(self, key: str) -> bool:
        """Return True if the file exists."""

    def keys(self, folder: str) -> Sequence[str]:
        """Return the keys of all files directly in a folder, in no order. Empty if there is no such folder."""


class Storage(Protocol):
    """The `Store` interface for an event loop."""

    async def read(self, key: str) -> bytes:
        """Return the file's bytes. Raises FileMissingError."""

    async def write(self, key: str, content: bytes) -> None:
        """Create or replace the file atomically."""

    async def delete(self, key: str) -> None:
        """Delete the file if it exists, so that it is safe to repeat this."""

    async def exists(self, key: str) -> bool:
        """Return True if the file exists."""


class InThreads:
    """A store for an event loop. Each call runs in a thread."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def read(self, key: str) -> bytes:
        """Return the file's bytes. Raises FileMissingError."""
        return await asyncio.to_thread(self.store.read, key)

    async def write(self, key: str, content: bytes) -> None:
        """Create or replace the file atomically."""
        await asyncio.to_thread(self.store.write, key, content)

    async def delete(self, key: str) -> None:
        """Delete the file if it exists."""
        await asyncio.to_thread(self.store.delete, key)

    async def exists(self, key: str) -> bool:
        """Return True if the file exists."""
        return await asyncio.to_thread(self.store.exists, key)
