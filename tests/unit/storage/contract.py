"""What every storage does, whatever keeps its files."""

import pytest

from streams.settings import Settings
from streams.storage import FileMissingError, open_storage, open_store


async def check_one_file(settings: Settings) -> None:
    """A file is written, read, replaced, listed and deleted. A second deletion changes nothing."""
    storage = open_storage(settings)
    key = "upload_files/t/ü 1.txt"
    assert not await storage.exists(key)
    await storage.write(key, b"one")
    await storage.write(key, b"")
    await storage.write(key, b"two")
    assert await storage.exists(key)
    assert await storage.read(key) == b"two"
    assert open_store(settings).keys("upload_files/t") == [key]
    await storage.delete(key)
    await storage.delete(key)
    with pytest.raises(FileMissingError, match=r"ü 1\.txt is not in the storage"):
        await storage.read(key)


def check_one_folder(settings: Settings) -> None:
    """The files of a folder are listed, and no others."""
    store = open_store(settings)
    for key in ("claims/20260101/a", "claims/20260101/b", "claims/20260102/c", "claims/202601011/d"):
        store.write(key, b"x")
    assert sorted(store.keys("claims/20260101")) == ["claims/20260101/a", "claims/20260101/b"]
    assert store.keys("claims/20250101") == []


def check_large_content(settings: Settings) -> None:
    """Content of 12 MiB comes back whole."""
    content = bytes(range(256)) * 4096 * 12
    store = open_store(settings)
    store.write("large", content)
    assert store.read("large") == content
