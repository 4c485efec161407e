"""The object stores of Apache OpenDAL as the storage: Azure, Google, Alibaba, Tencent, Huawei and more.

The library comes with the extra `opendal`. Its scheme `fs` is a folder and needs no library.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streams.settings import Settings, SettingsError
from streams.storage.filesystem import Folder
from streams.storage.port import FileMissingError, StorageAwayError, StorageKeyError, Store, checked_key

if TYPE_CHECKING:
    from opendal import Operator

_OPTIONS = "STREAMS_STORAGE_OPTIONS"
_RETRIES = 2
_FIRST_PAUSE = 0.1
"""Seconds before the first retry."""
_IN_ONE_PROCESS = {"memory", "moka", "mini_moka", "dashmap"}
"""Schemes whose files no other process sees."""
_NO_CONTAINER = ("NoSuchBucket", "ContainerNotFound", "BucketNotFound", "The specified bucket does not exist")
"""Parts of answers about a bucket that is not there. For some services the library reports a missing file."""


class ObjectStore:
    """Files as objects of one service. The service writes an object atomically."""

    def __init__(self, operator: "Operator", scheme: str) -> None:
        """Keep the operator, which has the time limits and repeats requests."""
        self._operator = operator
        self._scheme = scheme

    def read(self, key: str) -> bytes:
        """Return the object's bytes. Raises FileMissingError."""
        with self._translate_errors(key):
            return bytes(self._operator.read(_path(key)))

    def write(self, key: str, content: bytes) -> None:
        """Create or replace the object."""
        try:
            with self._translate_errors(key):
                self._operator.write(_path(key), content)
        except FileMissingError as error:  # what is missing is not the file
            raise StorageAwayError(self._away("the service reports that something is missing")) from error

    def delete(self, key: str) -> None:
        """Delete the object if it exists."""
        try:
            with self._translate_errors(key):
                self._operator.delete(_path(key))
        except FileMissingError:
            return

    def exists(self, key: str) -> bool:
        """Return True if the object exists."""
        try:
            with self._translate_errors(key):
                return self._operator.stat(_path(key)).mode.is_file()
        except FileMissingError:
            return False

    def keys(self, folder: str) -> Sequence[str]:
        """Return the keys of all objects directly in a folder."""
        start = f"{_path(folder)}/"
        try:
            with self._translate_errors(folder):
                # The library's blocking iterator holds Python's lock while it waits for the service.
                with ThreadPoolExecutor(1) as thread:
                    found = thread.submit(asyncio.run, self._listed(start)).result()
                return [path for path in found if not path.endswith("/")]
        except FileMissingError:
            return []

    async def _listed(self, start: str) -> list[str]:
        return [one.path async for one in await self._operator.to_async_operator().list(start)]

    @contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        """Raise FileMissingError, StorageKeyError or StorageAwayError for the errors of the library.

        All others would fail for every file too: credentials, the network, the service.
        """
        from opendal import exceptions  # noqa: PLC0415 - with an operator, it is loaded

        try:
            yield
        except (exceptions.IsADirectory, exceptions.NotADirectory) as error:
            raise FileMissingError(key) from error
        except _library_errors() as error:
            if any(part in str(error) for part in _NO_CONTAINER):
                raise StorageAwayError(self._away("there is no such bucket")) from error
            if isinstance(error, exceptions.NotFound):
                raise FileMissingError(key) from error
            raise StorageAwayError(self._away(_first_line(error))) from error

    def _away(self, reason: str) -> str:
        return f"the storage opendal:{self._scheme} does not work: {reason}"


def open_opendal(settings: Settings, scheme: str) -> Store:
    """Return the store of a scheme with the options of STREAMS_STORAGE_OPTIONS, without connecting.

    Raises:
        SettingsError: The library is not installed or has no such scheme, or an option is missing or wrong.
    """
    options = _options(settings)
    if scheme == "fs":
        root = options.get("root")
        if not root:
            message = f'{_OPTIONS}: the scheme fs needs the option root, such as {{"root": "/var/dify/storage"}}'
            raise SettingsError(message)
        return Folder(Path(root))
    if scheme in _IN_ONE_PROCESS:
        message = f"STREAMS_STORAGE_URL: opendal:{scheme} keeps files in one process; all workers must see them"
        raise SettingsError(message)
    try:
        import opendal  # noqa: PLC0415 - only users of these stores need the library
        from opendal.exceptions import Unsupported  # noqa: PLC0415 - as above
        from opendal.layers import RetryLayer, TimeoutLayer  # noqa: PLC0415 - as above
    except ImportError as error:
        message = f"STREAMS_STORAGE_URL=opendal:{scheme} needs opendal: install the extra `opendal`"
        raise SettingsError(message) from error
    seconds = settings.storage_connect_timeout + settings.storage_request_timeout
    try:
        operator = (
            opendal.Operator(scheme, **options)
            .layer(TimeoutLayer(timeout=seconds, io_timeout=seconds))
            .layer(RetryLayer(max_times=_RETRIES, min_delay=_FIRST_PAUSE))
        )
    except Unsupported as error:
        message = f"STREAMS_STORAGE_URL: the installed opendal has no scheme {scheme!r}"
        raise SettingsError(message) from error
    except _library_errors() as error:
        message = f"{_OPTIONS}: opendal:{scheme} cannot be set up: {_first_line(error)}"
        raise SettingsError(message) from None  # the rest of the error may have options
    return ObjectStore(operator, scheme)


def _library_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the library. They have no common type but Exception."""
    from opendal import exceptions  # noqa: PLC0415 - with an operator, it is loaded

    return (
        exceptions.AlreadyExists,
        exceptions.ConditionNotMatch,
        exceptions.ConfigInvalid,
        exceptions.Conflict,
        exceptions.Error,
        exceptions.IsSameFile,
        exceptions.NotFound,
        exceptions.PermissionDenied,
        exceptions.RangeNotSatisfied,
        exceptions.RateLimited,
        exceptions.Unexpected,
        exceptions.Unsupported,
    )


def _path(key: str) -> str:
    path = str(checked_key(key))
    if path != path.strip():  # the library would write another object
        raise StorageKeyError(key)
    return path


def _options(settings: Settings) -> Mapping[str, str]:
    text = settings.storage_options.get_secret_value() if settings.storage_options else "{}"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, str | int | float) for one in found.values()):
        message = f'{_OPTIONS}: write a JSON object of texts, such as {{"bucket": "files"}}'
        raise SettingsError(message)
    return {name: one if isinstance(one, str) else json.dumps(one) for name, one in found.items()}


def _first_line(error: Exception) -> str:
    """Return what went wrong. The other lines of the library's errors are its context and may have options."""
    return str(error).partition("\n")[0].rpartition("=> ")[2].strip() or type(error).__name__
