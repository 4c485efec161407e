"""The stores of OpenDAL: the contract of the storage, by S3 on a real HTTP server, and what is refused at start."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from streams.settings import Settings, SettingsError
from streams.storage import FileMissingError, Folder, StorageAwayError, StorageKeyError, open_storage, open_store
from tests.support.fakes.s3_server import BUCKET, KEY, REGION, s3_server
from tests.unit.storage.contract import check_large_content, check_one_file, check_one_folder

SECTION = "Large events"
TEXT = "the stores of OpenDAL behind the same port; a scheme or an option that is not there is refused at start"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


def settings_of(scheme: str, **options: object) -> Settings:
    return Settings.model_validate(
        {
            "storage_url": f"opendal:{scheme}",
            "storage_options": json.dumps(options),
            "storage_connect_timeout": "1s",
            "storage_request_timeout": "20s",
        }
    )


def s3_settings(endpoint: str, bucket: str = BUCKET, **more: object) -> Settings:
    keys = {"access_key_id": KEY, "secret_access_key": KEY, "region": REGION}
    return settings_of("s3", bucket=bucket, endpoint=endpoint, disable_ec2_metadata=True, **keys, **more)


@pytest.fixture(params=["fs", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, endpoint: str) -> Settings:
    if request.param == "fs":
        return settings_of("fs", root=str(tmp_path / "made later"))
    return s3_settings(endpoint, root=f"/{tmp_path.name}")


@pytest.mark.requirement(SECTION, TEXT)
async def test_written_read_replaced_deleted(settings: Settings) -> None:
    await check_one_file(settings)


@pytest.mark.requirement(SECTION, TEXT)
def test_the_files_of_a_folder_are_listed_and_of_no_other(settings: Settings) -> None:
    check_one_folder(settings)


@pytest.mark.requirement(SECTION, TEXT)
def test_large_content_comes_back_whole(settings: Settings) -> None:
    check_large_content(settings)


@pytest.mark.requirement(SECTION, TEXT)
@pytest.mark.parametrize(
    "key", ["../outside", "a/../../outside", "/etc/passwd", "", ".", "a\x00b", "\ud800", "x" * 300]
)
async def test_no_key_leads_out_of_the_storage(settings: Settings, key: str) -> None:
    storage = open_storage(settings)
    for attempt in (storage.read(key), storage.delete(key), storage.exists(key), storage.write(key, b"x")):
        with pytest.raises(StorageKeyError, match="is not the key of a file"):
            await attempt


@pytest.mark.requirement(SECTION, TEXT)
def test_a_key_that_is_a_folder_has_no_file(settings: Settings) -> None:
    store = open_store(settings)
    store.write("folder/file", b"x")
    for key in ("folder", "folder/file/below"):
        assert not store.exists(key)
        with pytest.raises(FileMissingError, match=f"^the file {key} is not in the storage$"):
            store.read(key)
        store.delete(key)
    assert store.read("folder/file") == b"x"


def test_the_scheme_fs_is_a_folder(tmp_path: Path) -> None:
    store = open_store(settings_of("fs", root=str(tmp_path)))
    assert isinstance(store, Folder)
    store.write("a/b", b"x")
    assert (tmp_path / "a" / "b").read_bytes() == b"x"


@pytest.mark.requirement(SECTION, TEXT)
def test_a_service_that_does_not_work_is_away(endpoint: str) -> None:
    """Nobody listens, there is no such bucket. The message is one line without an option."""
    gone, other = open_store(s3_settings("http://127.0.0.1:9")), open_store(s3_settings(endpoint, "other"))
    for store, reason in ((gone, "send http request"), (other, "there is no such bucket")):
        for call in (partial(store.read, "key"), partial(store.write, "key", b"x")):
            with pytest.raises(StorageAwayError, match=rf"^the storage opendal:s3 does not work: ({reason})$"):
                call()


@pytest.mark.requirement(SECTION, TEXT)
@pytest.mark.parametrize(
    ("scheme", "options", "problem"),
    [
        ("carrier-pigeon", "{}", r"STREAMS_STORAGE_URL: the installed opendal has no scheme 'carrier-pigeon'"),
        ("sftp", '{"key": "hidden"}', r"STREAMS_STORAGE_URL: the installed opendal has no scheme 'sftp'"),
        ("memory", "{}", r"STREAMS_STORAGE_URL: opendal:memory keeps files in one process"),
        ("fs", "{}", r"STREAMS_STORAGE_OPTIONS: the scheme fs needs the option root"),
        ("azblob", '{"account_key": "hidden"}', r"STREAMS_STORAGE_OPTIONS: opendal:azblob cannot be set up: "),
        ("gcs", '{"credential": "hidden"}', r"STREAMS_STORAGE_OPTIONS: opendal:gcs cannot be set up: .*bucket"),
        ("s3", '{"bucket": {"hidden": 1}}', r"STREAMS_STORAGE_OPTIONS: write a JSON object of texts"),
        ("s3", "hidden", r"STREAMS_STORAGE_OPTIONS: write a JSON object of texts"),
        ("", "{}", r"STREAMS_STORAGE_URL: 'opendal:' is not supported: use file:PATH, s3://BUCKET/PREFIX or opendal"),
        ("//s3", "{}", r"STREAMS_STORAGE_URL: 'opendal://s3' is not supported"),
    ],
)
def test_what_is_not_there_is_refused_at_start(scheme: str, options: str, problem: str) -> None:
    wrong = Settings.model_validate({"storage_url": f"opendal:{scheme}", "storage_options": options})
    with pytest.raises(SettingsError, match=f"^{problem}") as refused:
        open_store(wrong)
    assert "\n" not in str(refused.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.requirement(SECTION, TEXT)
@pytest.mark.parametrize(
    ("scheme", "options"),
    [
        ("azblob", {"container": "c", "endpoint": "https://a.example", "account_name": "a", "account_key": "a2V5"}),
        ("gcs", {"bucket": "b"}),
        ("oss", {"bucket": "b", "endpoint": "https://o.example", "access_key_id": "a", "access_key_secret": "s"}),
        ("cos", {"bucket": "b", "endpoint": "https://c.example", "secret_id": "a", "secret_key": "s"}),
        ("obs", {"bucket": "b", "endpoint": "https://o.example", "access_key_id": "a", "secret_access_key": "s"}),
    ],
)
def test_the_services_of_the_page_can_be_set_up(scheme: str, options: dict[str, object]) -> None:
    """The names of the options on the page are those of the library. Nothing is connected."""
    open_store(settings_of(scheme, **options))


@pytest.mark.requirement(SECTION, TEXT)
def test_without_the_library_the_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opendal", None)
    with pytest.raises(SettingsError, match="install the extra `opendal`"):
        open_store(settings_of("s3"))
