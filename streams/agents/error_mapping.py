"""Maps errors of the platform's side to errors of a delivery: permanent, retry, or dependency unavailable."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.errors import BusyError, RefusedError, UnavailableError
from streams.storage import StorageAwayError, StorageKeyError

STORAGE = "storage"
"""The name of the file storage in the `needs` of handlers."""


def owner_message(error: BaseException) -> str:
    """Return the text of an error for a row that its owner reads. Of a database's error it has no SQL and no values."""
    if isinstance(error, SQLAlchemyError):
        cause = error.orig if isinstance(error, DBAPIError) else None
        return f"the database failed: {str(cause or '').strip().partition(chr(10))[0] or type(error).__name__}"
    return str(error) or type(error).__name__


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
