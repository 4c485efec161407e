"""A folder and a bucket as the storage: the same contract. The bucket is on a real HTTP server that speaks S3."""

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE
from urllib.parse import quote

import pytest

from streams.settings import Settings, SettingsError
from streams.storage import FileMissingError, StorageAwayError, StorageKeyError, Store, open_storage, open_store
from streams.storage.s3 import open_bucket
from tests.support.fakes.s3_server import KEY, REGION, s3_server
from tests.unit.storage.contract import check_large_content, check_one_file, check_one_folder


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 server with a bucket."""
    with s3_server() as url:
        yield url


def bucket_settings(endpoint: str, url: str = "s3://files/some/prefix") -> Settings:
    return Settings.model_validate(
        {
            "storage_url": url,
            "storage_endpoint_url": endpoint,
            "storage_region": REGION,
            "storage_access_key": KEY,
            "storage_secret_key": KEY,
            "storage_connect_timeout": "1s",
            "storage_request_timeout": "1s",
        }
    )


@pytest.fixture(params=["folder", "bucket"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, endpoint: str) -> Settings:
    """The settings of each kind."""
    if request.param == "folder":
        return Settings(storage_url=f"file:{quote(str(tmp_path / 'made' / 'later'))}")
    return bucket_settings(endpoint, f"s3://files/{quote(tmp_path.name)}")


@pytest.mark.requirement("Large events", "file and S3 behind one port")
async def test_written_read_replaced_deleted(settings: Settings) -> None:
    await check_one_file(settings)


def test_the_files_of_a_folder_are_listed_and_of_no_other(settings: Settings) -> None:
    check_one_folder(settings)


def test_large_content_comes_back_whole(settings: Settings) -> None:
    check_large_content(settings)


@pytest.mark.requirement("Faults of others", "L8: modes of the storage, links, and keys that no file can have")
@pytest.mark.parametrize(
    "key",
    ["../outside", "a/../../outside", "/etc/passwd", "", ".", "a\x00b", "\ud800", "x" * 300, "long/" * 300 + "x"],
)
async def test_no_key_leads_out_of_the_storage(settings: Settings, key: str) -> None:
    storage = open_storage(settings)
    for attempt in (storage.read(key), storage.delete(key), storage.exists(key), storage.write(key, b"x")):
        with pytest.raises(StorageKeyError, match="is not the key of a file"):
            await attempt


@pytest.mark.requirement("Faults of others", "L8: modes of the storage, links, and keys that no file can have")
def test_a_key_that_is_a_folder_has_no_file(settings: Settings) -> None:
    """It is missing, and a message never has a path of the machine."""
    store = open_store(settings)
    store.write("folder/file", b"x")
    for key in ("folder", "folder/file/below"):
        assert not store.exists(key)
        with pytest.raises(FileMissingError, match=f"^the file {key} is not in the storage$"):
            store.read(key)


@pytest.mark.requirement("Faults of others", "L8: modes of the storage, links, and keys that no file can have")
@pytest.mark.parametrize("key", ["folder", "folder/file/below"])
def test_a_folder_and_a_file_cannot_change_places(tmp_path: Path, key: str) -> None:
    """A key that is a folder, or below a file, cannot be written or deleted. The file stays."""
    store = open_store(Settings(storage_url=f"file:{tmp_path}"))
    store.write("folder/file", b"x")
    with pytest.raises(StorageKeyError):
        store.write(key, b"y")
    store.delete(key)
    assert store.read("folder/file") == b"x"


@pytest.mark.requirement("Faults of others", "L8: modes of the storage, links, and keys that no file can have")
@pytest.mark.parametrize(("of_storage", "of_file"), [(0o755, 0o644), (0o750, 0o640), (0o2770, 0o660), (0o700, 0o600)])
def test_files_get_the_permissions_of_the_storage_folder(tmp_path: Path, of_storage: int, of_file: int) -> None:
    """Whatever the umask is. So the platform under another account can read what the worker wrote."""
    folder = tmp_path / "storage"
    folder.mkdir()
    folder.chmod(of_storage)
    before = os.umask(0o077)
    try:
        open_store(Settings(storage_url=f"file:{folder}")).write("a/b/file", b"x")
    finally:
        os.umask(before)
    assert S_IMODE((folder / "a" / "b" / "file").stat().st_mode) == of_file
    for made in (folder / "a", folder / "a" / "b"):
        assert S_IMODE(made.stat().st_mode) == of_storage


@pytest.mark.requirement("Faults of others", "L8: modes of the storage, links, and keys that no file can have")
def test_a_link_is_deleted_and_replaced_itself(tmp_path: Path) -> None:
    """What it leads to stays as it is. A link that leads out of the storage is not read."""
    folder = tmp_path / "storage"
    store = open_store(Settings(storage_url=f"file:{folder}"))
    store.write("target", b"kept")
    for name in ("deleted", "replaced"):
        (folder / name).symlink_to(folder / "target")
    assert store.read("deleted") == b"kept"
    store.delete("deleted")
    store.write("replaced", b"new")
    assert (store.read("target"), store.read("replaced"), store.exists("deleted")) == (b"kept", b"new", False)
    (tmp_path / "outside").write_bytes(b"secret")
    (folder / "out").symlink_to(tmp_path / "outside")
    with pytest.raises(StorageKeyError):
        store.read("out")
    store.delete("out")
    assert (tmp_path / "outside").read_bytes() == b"secret"


def test_a_write_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    store = open_store(Settings(storage_url=f"file:{tmp_path}"))
    store.write("a/b", b"x")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


@pytest.mark.parametrize("url", ["file:{}", "file://{}", "file://localhost{}"])
async def test_a_file_url_is_a_folder(tmp_path: Path, url: str) -> None:
    storage = open_storage(Settings(storage_url=url.format(tmp_path)))
    await storage.write("key", b"x")
    assert (tmp_path / "key").read_bytes() == b"x"


@pytest.mark.parametrize("url", ["s3:", "s3:///key", "file:", "file://server/share", "folder"])
def test_other_urls_are_refused_by_name(url: str) -> None:
    with pytest.raises(SettingsError, match="STREAMS_STORAGE_URL"):
        open_storage(Settings(storage_url=url))


def each_call_is_away(store: Store, match: str) -> None:
    for call in (
        lambda: store.read("key"),
        lambda: store.write("key", b"x"),
        lambda: store.delete("key"),
        lambda: store.exists("key"),
        lambda: store.keys("key"),
    ):
        with pytest.raises(StorageAwayError, match=match):
            call()


@pytest.mark.requirement("Large events", "file and S3 behind one port")
def test_a_bucket_that_nobody_serves_is_away() -> None:
    each_call_is_away(open_store(bucket_settings("http://127.0.0.1:9")), "s3://files does not work: Could not connect")


def test_a_bucket_that_is_not_there_is_away(endpoint: str) -> None:
    store = open_store(bucket_settings(endpoint, "s3://other"))
    for call in (lambda: store.read("key"), lambda: store.write("key", b"x")):
        with pytest.raises(StorageAwayError, match="s3://other does not work: NoSuchBucket"):
            call()


@pytest.mark.requirement("Large events", "file and S3 behind one port")
def test_without_boto3_the_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(SettingsError, match="install the extra `s3`"):
        open_bucket(Settings(), "files", "")
