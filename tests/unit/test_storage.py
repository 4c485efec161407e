"""A folder as the storage."""

from pathlib import Path

import pytest

from streams.settings import Settings, SettingsError
from streams.storage import FileMissingError, FolderStorage, open_storage


async def test_written_read_replaced_deleted(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "made" / "later")
    key = "upload_files/t/ü 1.txt"
    assert not await storage.exists(key)
    await storage.write(key, b"one")
    await storage.write(key, b"two")
    assert await storage.exists(key)
    assert await storage.read(key) == b"two"
    assert [path.name for path in (storage.folder / "upload_files" / "t").iterdir()] == ["ü 1.txt"]
    await storage.delete(key)
    await storage.delete(key)
    with pytest.raises(FileMissingError, match=r"ü 1\.txt is not in the storage"):
        await storage.read(key)


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/passwd", "", "."])
async def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    storage = FolderStorage(tmp_path / "inside")
    for attempt in (storage.read(key), storage.delete(key), storage.exists(key), storage.write(key, b"x")):
        with pytest.raises(ValueError, match="is not the key of a file"):
            await attempt


@pytest.mark.parametrize("url", ["file:{}", "file://{}", "file://localhost{}"])
async def test_a_file_url_is_a_folder(tmp_path: Path, url: str) -> None:
    storage = open_storage(Settings(storage_url=url.format(tmp_path)))
    await storage.write("key", b"x")
    assert (tmp_path / "key").read_bytes() == b"x"


@pytest.mark.parametrize("url", ["s3://bucket", "file:", "file://server/share", "folder"])
def test_other_urls_are_refused_by_name(url: str) -> None:
    with pytest.raises(SettingsError, match="STREAMS_STORAGE_URL"):
        open_storage(Settings(storage_url=url))
