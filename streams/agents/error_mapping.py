"""Maps errors of the platform's side to errors of a delivery: permanent, retry, or dependency unavailable."""

from collections.abc import Iterator
from contextlib import contextmanager

from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.errors import BusyError, RefusedError, UnavailableError
from streams.storage import StorageAwayError, StorageKeyError

STORAGE = "storage"
"""The name of the file storage in the `needs` of handlers."""


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Map RefusedError and StorageKeyError to Permanent, and BusyError to Retry after the requested time.

    UnavailableError and StorageAwayError become Unavailable, which does not count as an attempt. The messages stay.
    """
    try:
        yield
    except (RefusedError, StorageKeyError) as error:
        raise Permanent(str(error)) from error
    except BusyError as error:
        raise Retry(str(error), after=error.after) from error
    except UnavailableError as error:
        raise Unavailable(error.service, str(error)) from error
    except StorageAwayError as error:
        raise Unavailable(STORAGE, str(error)) from error
