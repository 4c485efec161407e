"""The file storage port: upload files and the payloads of large events, by key."""

import asyncio
from collections.abc import Sequence
from typing import Protocol


class FileMissingError(Exception):
    """The storage has no file of that key."""

    __module__ = "streams.storage"

    def __init__(self, key: str) -> None:
        super().__init__(f"the file {key} is not in the storage")
        self.key = key


class StorageAwayError(Exception):
    """The storage as a whole fails: it is full, read-only, unreachable or refuses us. Not the file's fault."""

    __module__ = "streams.storage"


class Store(Protocol):
    """Files by key, a relative path with slashes such as ``upload_files/<tenant>/<uuid>.txt``. Blocks; any thread.

    A key that would lead out of the storage raises ValueError; a storage that fails as a whole, StorageAwayError.
    """

    def read(self, key: str) -> bytes:
        """The file's bytes; raises FileMissingError."""

    def write(self, key: str, content: bytes) -> None:
        """Make or replace the file, whole or not at all."""

    def delete(self, key: str) -> None:
        """Remove the file; a missing one is fine, so that a repeat is."""

    def exists(self, key: str) -> bool:
        """Whether there is a file of that key."""

    def keys(self, folder: str) -> Sequence[str]:
        """The keys of all files directly in a folder, in no order; none where there is no such folder."""


class Storage(Protocol):
    """As `Store`, for an event loop."""

    async def read(self, key: str) -> bytes:
        """The file's bytes; raises FileMissingError."""

    async def write(self, key: str, content: bytes) -> None:
        """Make or replace the file, whole or not at all."""

    async def delete(self, key: str) -> None:
        """Remove the file; a missing one is fine, so that a repeat is."""

    async def exists(self, key: str) -> bool:
        """Whether there is a file of that key."""


class InThreads:
    """A store for an event loop: each call is made in a thread."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def read(self, key: str) -> bytes:
        """The file's bytes; raises FileMissingError."""
        return await asyncio.to_thread(self.store.read, key)

    async def write(self, key: str, content: bytes) -> None:
        """Make or replace the file, whole or not at all."""
        await asyncio.to_thread(self.store.write, key, content)

    async def delete(self, key: str) -> None:
        """Remove the file; a missing one is fine."""
        await asyncio.to_thread(self.store.delete, key)

    async def exists(self, key: str) -> bool:
        """Whether there is a file of that key."""
        return await asyncio.to_thread(self.store.exists, key)
