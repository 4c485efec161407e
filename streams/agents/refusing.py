"""What the platform's side says of its failures, in the words of a delivery: for good, or not now."""

from collections.abc import Iterator
from contextlib import contextmanager

from streams.delivery import Permanent, Retry
from streams.dify.refusals import BusyError, RefusedError


@contextmanager
def refusals_are_permanent() -> Iterator[None]:
    """Turns RefusedError into Permanent, BusyError into Retry at the time that it asks for, with the same words."""
    try:
        yield
    except RefusedError as error:
        raise Permanent(str(error)) from error
    except BusyError as error:
        raise Retry(str(error), after=error.after) from error
