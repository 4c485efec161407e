"""The file storage interface: upload files and the payloads of large events, by key."""

import asyncio
from collections.abc import Sequence
from typing import Protocol


class FileMissingError(Exception):
    """The storage has no file with this key."""

    __module__ = "streams.storage"

    def __init__(self, key: str) -> None:
        super().__init__(f"the file {key} is not in the storage")
        self.key = key


class StorageAwayError(Exception):
    """The whole storage fails: it is full, read-only, unreachable or rejects the access. The file is not the reason."""

    __module__ = "streams.storage"


class Store(Protocol):
    """Files by key, a relative path such as ``upload_files/<tenant>/<uuid>.txt``. It blocks. Any thread may call it.

    A key outside the storage raises ValueError. A failure of the whole storage raises StorageAwayError.
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
