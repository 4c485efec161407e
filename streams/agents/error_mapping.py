"""What the platform's side says of its failures, in the words of a delivery: for good, not now, or not its fault."""

from collections.abc import Iterator
from contextlib import contextmanager

from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.errors import BusyError, RefusedError, UnavailableError
from streams.storage import StorageAwayError

STORAGE = "storage"
"""The file storage, as handlers name it in their needs."""


@contextmanager
def refusals_told() -> Iterator[None]:
    """Turns RefusedError into Permanent, BusyError into Retry at the time that it asks for, with the same words.

    And what a service or the storage as a whole failed with into Unavailable, which is nobody's attempt.
    """
    try:
        yield
    except RefusedError as error:
        raise Permanent(str(error)) from error
    except BusyError as error:
        raise Retry(str(error), after=error.after) from error
    except UnavailableError as error:
        raise Unavailable(error.service, str(error)) from error
    except StorageAwayError as error:
        raise Unavailable(STORAGE, str(error)) from error
