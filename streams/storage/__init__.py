"""The file storage, in a folder or a bucket: upload files and the payloads of large events."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from streams.settings import Settings, SettingsError
from streams.storage.filesystem import Folder
from streams.storage.opendal import open_opendal
from streams.storage.port import FileMissingError, InThreads, Storage, StorageAwayError, StorageKeyError, Store
from streams.storage.s3 import open_bucket
from streams.urls import masked_url

__all__ = [
    "FileMissingError",
    "Folder",
    "InThreads",
    "Storage",
    "StorageAwayError",
    "StorageKeyError",
    "Store",
    "open_storage",
    "open_store",
]


def open_store(settings: Settings) -> Store:
    """Return the store of STREAMS_STORAGE_URL.

    The forms are ``file:relative/folder``, ``file:///absolute/folder``, ``s3://bucket/prefix`` and ``opendal:scheme``.
    Raises SettingsError for any other form.
    """
    url = urlsplit(settings.storage_url)
    if url.scheme == "s3" and url.netloc:
        return open_bucket(settings, url.netloc, unquote(url.path))
    if url.scheme == "opendal" and url.path and not url.netloc:
        return open_opendal(settings, url.path)
    if url.scheme != "file" or url.netloc not in {"", "localhost"} or not url.path.strip("/"):
        shown = masked_url(settings.storage_url)
        message = (
            f"STREAMS_STORAGE_URL: {shown!r} is not supported: use file:PATH, s3://BUCKET/PREFIX or opendal:SCHEME"
        )
        raise SettingsError(message)
    return Folder(Path(unquote(url.path)))


def open_storage(settings: Settings) -> Storage:
    """Return the store of STREAMS_STORAGE_URL for an event loop."""
    return InThreads(open_store(settings))
